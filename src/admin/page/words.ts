/** Figures as the page writes them. */

export const count = (n: number): string => {
  if (n >= 1e6) return `${(n / 1e6).toFixed(1)} M`
  if (n >= 1e4) return `${(n / 1e3).toFixed(n >= 1e5 ? 0 : 1)} k`
  return n >= 10 || Number.isInteger(n) ? String(Math.round(n)) : n.toFixed(1)
}

/** @param ms a duration */
export function lasting(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000))
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min`
  if (s < 2 * 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`
  return `${Math.floor(s / 86_400)} days`
}

/** The time of day, in UTC, as the log and the API have it. */
export const clockTime = (at: number): string => `${new Date(at).toISOString().slice(11, 19)} UTC`

export const share = (part: number): string => `${Math.round(part * 100)} %`
