/** Finds the name that a mistyped one was meant to be. */

/** How many letters have to be added, left out, replaced or swapped with their neighbour to turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let least = Math.min(row[j - 1]! + 1, last[j]! + 1, last[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, beforeLast[j - 2]! + 1)
      row.push(least)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]!
}

/** The one of `names` that `text` was most likely meant to be, ignoring case; undefined where none is close. */
export function nearest<N extends string>(text: string, names: readonly N[]): N | undefined {
  const given = text.toLowerCase()
  let best: { name: N; distance: number } | undefined
  for (const name of names) {
    const lower = name.toLowerCase()
    // Half a name (IP_CONNECTIONS) is closer than its many missing letters suggest.
    const inside = given.length >= 5 && (lower.endsWith(given) || lower.startsWith(given))
    const distance = inside ? 1 : editDistance(given, lower)
    if (distance <= Math.max(2, given.length * 0.35) && (best === undefined || distance < best.distance)) {
      best = { name, distance }
    }
  }
  return best !== undefined && best.distance < best.name.length ? best.name : undefined
}
