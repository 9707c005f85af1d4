/** Finds the name that was meant by a mistyped one. */

/** How many letters must be added, removed, replaced or swapped with their neighbour to turn `a` into `b`. */
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

/** The one of `names` that `text` was most likely meant to be, in any case of letters; undefined where none is near. */
export function nearest<N extends string>(text: string, names: readonly N[]): N | undefined {
  const typed = text.toLowerCase()
  let best: { name: N; distance: number } | undefined
  for (const name of names) {
    const lower = name.toLowerCase()
    // A name of which one end is missing (IP_CONNECTIONS) is nearer than the count of missing letters says.
    const inside = typed.length >= 5 && (lower.endsWith(typed) || lower.startsWith(typed))
    const distance = inside ? 1 : editDistance(typed, lower)
    if (distance <= Math.max(2, typed.length * 0.35) && (best === undefined || distance < best.distance)) {
      best = { name, distance }
    }
  }
  return best !== undefined && best.distance < best.name.length ? best.name : undefined
}
