// What the status bar shows and what a click on it offers. Pure.

/** The server's states, and two of a client without a server. */
export type State =
  "starting" | "loading" | "ready" | "working" | "off" | "snoozed" | "error" | "missing" | "stopped";

export interface Status {
  readonly state: State;
  /** Empty before it is known. */
  readonly model: string;
  /** A sentence. */
  readonly message: string;
}

/** Whether no completions come until a person does something. */
export function isTrouble(state: State): boolean {
  return state === "error" || state === "missing" || state === "stopped";
}

const ICONS: Readonly<Record<State, string>> = {
  starting: "loading~spin",
  loading: "loading~spin",
  ready: "check",
  working: "sync~spin",
  off: "circle-slash",
  snoozed: "bell-slash",
  error: "warning",
  missing: "cloud-download",
  stopped: "warning",
};

/** A text with an icon of VS Code's, for a status bar. */
export function statusText({ state }: Status): string {
  return `$(${ICONS[state]}) Midfill`;
}

/** What is read when the pointer rests on the item. */
export function tooltip({ message, model }: Status): string {
  return model === "" ? message : `${message}\n\nModel: ${model}`;
}

export interface MenuItem {
  readonly label: string;
  readonly command: string;
  readonly args?: readonly unknown[];
}

/** What a click offers, what mends a state first. `language` is that of the document in front, if it has one. */
export function menuItems(state: State, language: string | undefined, speaksIt: boolean): readonly MenuItem[] {
  if (state === "missing") {
    return [
      { label: "$(cloud-download) Install the server…", command: "midfill.install" },
      { label: "$(rocket) Get started", command: "midfill.walkthrough" },
      ...LAST,
    ];
  }
  const isOff = state === "off";
  const items: MenuItem[] = [
    isOff
      ? { label: "$(play) Turn completion on", command: "midfill.toggle" }
      : { label: "$(circle-slash) Turn completion off", command: "midfill.toggle" },
  ];
  if (language !== undefined && !isOff) {
    const verb = speaksIt ? "$(circle-slash) Turn completion off" : "$(play) Turn completion on";
    items.push({ label: `${verb} for ${language}`, command: "midfill.toggleLanguage" });
  }
  if (state === "snoozed") {
    items.push({ label: "$(bell) Wake up", command: "midfill.snooze", args: [0] });
  } else if (!isOff) {
    items.push({ label: "$(bell-slash) Snooze…", command: "midfill.snooze" });
  }
  const rest: MenuItem[] = [
    { label: "$(package) Choose a model…", command: "midfill.chooseModel" },
    { label: "$(graph) Statistics", command: "midfill.statistics" },
    { label: "$(eye) Show the prompt at the caret", command: "midfill.showPrompt" },
    { label: "$(pulse) Look for problems", command: "midfill.doctor" },
  ];
  const all = [...items, ...rest, ...LAST];
  return isTrouble(state) ? [...LAST, ...rest, ...items] : all;
}

const LAST: readonly MenuItem[] = [
  { label: "$(debug-restart) Restart the server", command: "midfill.restart" },
  { label: "$(output) Show the log", command: "midfill.showLog" },
  { label: "$(gear) Settings", command: "workbench.action.openSettings", args: ["midfill."] },
];

/** What may be chosen for a snooze, in minutes. */
export const SNOOZES: readonly { readonly label: string; readonly minutes: number }[] = [
  { label: "5 minutes", minutes: 5 },
  { label: "15 minutes", minutes: 15 },
  { label: "1 hour", minutes: 60 },
  { label: "4 hours", minutes: 240 },
  { label: "24 hours", minutes: 1440 },
];
