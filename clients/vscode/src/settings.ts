// The editor's settings as the server wants them.

export interface Setting {
  /** Dotted, without `midfill.`, such as `completion.debounceMs`. */
  readonly name: string;
  readonly value: unknown;
}

/** `[{ name: "completion.debounceMs", value: 20 }]` as `{ completion: { debounceMs: 20 } }`. */
export function initializationOptions(settings: readonly Setting[]): object {
  const options: Record<string, unknown> = {};
  for (const { name, value } of settings) {
    const parts = name.split(".");
    const last = parts.pop() ?? name;
    let inner = options;
    for (const part of parts) {
      inner = (inner[part] ??= {}) as Record<string, unknown>;
    }
    inner[last] = value;
  }
  return options;
}
