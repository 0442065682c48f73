/** The mode that `nvpmodel -q` names; warnings may come first, and there may be none. Its watts cap clocks, not power. */
export function parsePowerMode(text: string): string | undefined {
  return /^NV Power Mode:\s*(\S+)/m.exec(text)?.[1]
}
