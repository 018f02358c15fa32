// The setting `completion.languages`: names of languages, or all but those with `!`. Pure.

/** Whether completions are offered in a language, by the setting. As the server judges it (`rules.py`). */
export function speaks(languages: readonly string[], language: string): boolean {
  const wanted = languages.filter((each) => !each.startsWith("!"));
  return !languages.includes(`!${language}`) && (wanted.length === 0 || wanted.includes(language));
}

/** The setting with a language turned on where it was off, or off where it was on. */
export function toggled(languages: readonly string[], language: string): string[] {
  const others = languages.filter((each) => each !== language && each !== `!${language}`);
  if (speaks(languages, language)) {
    // Without a name left, the list would mean all languages.
    const names = others.some((each) => !each.startsWith("!"));
    return names ? others : [...others, `!${language}`];
  }
  return speaks(others, language) ? others : [...others, language];
}
