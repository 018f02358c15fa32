// The models that `midfill models list --json` tells of, as a list to choose from. Pure.
import { Trouble } from "./server";

export interface ModelFile {
  readonly file: string;
  readonly quantization: string;
  readonly size_bytes: number;
  /** Whether it fits into this machine's memory; null where that is not known. */
  readonly fits: boolean | null;
  readonly installed: boolean;
  /** Where it is, if it is installed. */
  readonly path: string | null;
}

export interface Model {
  readonly name: string;
  readonly title: string;
  /** `completion`, `instruct`, or both. */
  readonly roles: readonly string[];
  readonly licence: string;
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

/** Names of files or models that `midfill models recommend --json` has printed, the best first; any object or list that
 * names a `name` or a `file`. */
export function recommendedFrom(json: string): ReadonlySet<string> {
  const told = parsed(json);
  const all: readonly unknown[] = Array.isArray(told) ? told : [told];
  return new Set(
    all.flatMap((each) =>
      typeof each === "object" && each !== null
        ? Object.entries(each)
            .filter(([key, value]) => (key === "file" || key === "name") && typeof value === "string")
            .map(([, value]) => value as string)
        : [],
    ),
  );
}

/** Entries for models of a role: recommended ones first, then what fits, then what is there already; the rest as listed. */
export function entries(models: readonly Model[], role: string, recommended: ReadonlySet<string>): readonly Entry[] {
  const all = models
    .filter(({ roles }) => roles.includes(role))
    .flatMap((model) => model.files.map((file) => entry(model, file, recommended)));
  const rank = ({ file }: Entry) =>
    (recommended.has(file.file) ? 0 : 4) + (file.fits === false ? 2 : 0) + (file.installed ? 0 : 1);
  return all.sort((one, other) => rank(one) - rank(other));
}

function entry(model: Model, file: ModelFile, recommended: ReadonlySet<string>): Entry {
  const marks = [
    file.installed ? "$(check) on this machine" : `$(cloud-download) ${size(file.size_bytes)}`,
    ...(recommended.has(file.file) ? ["$(star) recommended here"] : []),
  ];
  const fits = file.fits === true ? "fits" : "$(warning) does not fit";
  return {
    label: `${model.title} ${file.quantization}`.trim(),
    description: marks.join(" · "),
    detail: [
      ...(file.fits === null ? [] : [`${fits} into this machine's memory`]),
      ...(file.installed ? [size(file.size_bytes)] : []),
      `licence: ${model.licence}`,
    ].join(" · "),
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
