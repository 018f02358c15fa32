// What tests in the extension host ask of whoever sits in front of the screen: parameters and answer of each request.

export interface Requests {
  /** Real keys, one after the other. */
  readonly type: [{ text: string; delayMs: number }, undefined];
  /** A key with its modifiers, in Playwright's notation, such as `Control+ArrowRight`. */
  readonly press: [{ keys: string }, undefined];
  /** The ghost text that is drawn; empty where there is none. */
  readonly ghost: [object, string];
  /** Press a key; when it went down and when ghost text was drawn, in ms since 1970, or null if none was. */
  readonly timed: [{ key: string }, { keyMs: number; ghostMs: number } | null];
  readonly click: [{ selector: string; text: string }, undefined];
  readonly texts: [{ selector: string }, string[]];
  readonly label: [{ selector: string }, string | null];
  /** The text in all webviews. */
  readonly framed: [object, string];
  /** A screenshot, kept as `NAME.png`. */
  readonly picture: [{ name: string }, undefined];
  /** Make the window so many pixels wide. */
  readonly resize: [{ width: number }, undefined];
  /** A second window, which the requests after it mean. */
  readonly open: [{ file: string }, undefined];
  readonly close: [object, undefined];
}
