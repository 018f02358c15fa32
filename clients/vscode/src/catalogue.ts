// The models that `midfill models list --json` tells of, as a list to choose from. Pure.
import { Trouble } from "./server";

export interface ModelFile {
  readonly file: string;
  readonly quantization: string;
  readonly size_bytes: number;
  readonly size_is_exact: boolean;
  /** Whether it fits into this machine's memory, and where it would run then: `gpu`, `gpu and cpu`, `cpu`. */
  readonly fits: boolean;
  readonly where: string;
  readonly installed: boolean;
  /** Where it is, if it is installed. */
  readonly path: string | null;
  /** How it is known that it can be fetched; empty where it is not, and `pull` refuses it. */
  readonly confirmed: string;
}

export interface Model {
  readonly name: string;
  readonly title: string;
  /** `completion`, `instruct`, or both; none for a file that the catalogue does not know. */
  readonly roles: readonly string[];
  readonly licence: string;
  readonly note: string;
  readonly files: readonly ModelFile[];
}

export interface Entry {
  readonly label: string;
  readonly description: string;
  readonly detail: string;
  readonly model: Model;
  readonly file: ModelFile;
}

/** What `midfill models list --json` printed. */
export function modelsFrom(json: string): readonly Model[] {
  const told = parsed(json);
  if (!Array.isArray(told)) {
    throw new Trouble("The list of models could not be read.");
  }
  return told as readonly Model[];
}

/** Names of the files that `midfill models recommend --json` has printed. */
export function recommendedFrom(json: string): ReadonlySet<string> {
  const told = parsed(json);
  const all: readonly unknown[] = typeof told === "object" && told !== null ? Object.values(told) : [];
  return new Set(
    all.flatMap((each) =>
      typeof each === "object" && each !== null && "file" in each && typeof each.file === "string" ? [each.file] : [],
    ),
  );
}

/** Entries for models of a role: recommended ones first, then what is here already, then what fits; the rest as listed.
 * What cannot be fetched is left out. */
export function entries(models: readonly Model[], role: string, recommended: ReadonlySet<string>): readonly Entry[] {
  const all = models
    .filter(({ roles }) => roles.length === 0 || roles.includes(role))
    .flatMap((model) =>
      model.files
        .filter(({ installed, confirmed }) => installed || confirmed !== "")
        .map((file) => entry(model, file, recommended)),
    );
  const rank = ({ file }: Entry) =>
    (recommended.has(file.file) ? 0 : 4) + (file.fits ? 0 : 2) + (file.installed ? 0 : 1);
  return all.sort((one, other) => rank(one) - rank(other));
}

function entry(model: Model, file: ModelFile, recommended: ReadonlySet<string>): Entry {
  const bytes = `${file.size_is_exact ? "" : "about "}${size(file.size_bytes)}`;
  const fits = file.fits ? "fits into this machine's memory" : "$(warning) does not fit into this machine's memory";
  const facts = [
    file.where === "" ? fits : `${fits}, runs on the ${file.where.toUpperCase().replace(" AND ", " and ")}`,
    ...(model.licence === "" ? [] : [`licence: ${model.licence}`]),
    ...(model.note === "" ? [] : [model.note]),
  ];
  return {
    label: `${model.title} ${file.quantization}`.trim(),
    description: [
      `${file.installed ? "$(check) on this machine," : "$(cloud-download)"} ${bytes}`,
      ...(recommended.has(file.file) ? ["$(star) recommended here"] : []),
    ].join(" · "),
    detail: facts.join(" · "),
    model,
    file,
  };
}

/** `4.2 GB`, as shops and file managers count. */
export function size(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(unit > 0 && value < 99.95 ? 1 : 0)} ${units[unit] ?? ""}`;
}

/** A line that `midfill models pull --json` printed. */
export type Pulled =
  { readonly done: number; readonly total: number } | { readonly path: string } | { readonly error: string };

/** What a line says; undefined for one that says nothing that is known here. */
export function pulledFrom(line: string): Pulled | undefined {
  let told: unknown;
  try {
    told = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof told !== "object" || told === null) {
    return undefined;
  }
  const { done, total, path, error } = told as Record<string, unknown>;
  if (typeof error === "string") {
    return { error };
  }
  if (typeof path === "string") {
    return { path };
  }
  return typeof done === "number" ? { done, total: typeof total === "number" ? total : 0 } : undefined;
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw new Trouble("The list of models could not be read.");
  }
}
