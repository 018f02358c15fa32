// What of this machine decides where the server is looked for.
import { accessSync, constants, statSync } from "node:fs";
import { homedir } from "node:os";
import type { Places } from "./server";

export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** This machine, with the extension's own environment in `ownFolder`. */
export function placesHere(
  setting: unknown,
  selectedPython: Places["selectedPython"],
  ownFolder: string,
): Places {
  return {
    setting,
    selectedPython,
    ownFolder,
    variables: process.env,
    home: homedir(),
    platform: process.platform,
    isExecutable,
  };
}
