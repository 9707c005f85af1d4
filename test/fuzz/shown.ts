/** Text of any length and kind, for people. */
export const shown = (text: string): string => {
  const json = JSON.stringify(text)
  return json.length > 1000 ? `${json.slice(0, 600)} … ${json.slice(-300)} (${text.length} octets)` : json
}
