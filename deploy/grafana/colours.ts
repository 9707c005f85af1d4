/**
 * The colours of Grafana that panels use. Red is for harm to honest mail alone, so that who looks from afar sees nothing red
 * while a flood is handled. Grafana gives lines colours by their order, and one of them red; therefore each line has its
 * own here, by the value of its label, and lines of unknown names (nodes, mail servers) are shades of blue.
 */
export type Colour =
  | 'green'
  | 'dark-green'
  | 'light-green'
  | 'yellow'
  | 'dark-yellow'
  | 'light-yellow'
  | 'orange'
  | 'light-orange'
  | 'blue'
  | 'dark-blue'
  | 'light-blue'
  | 'purple'
  | 'dark-purple'
  | 'light-purple'
  | 'text'

/** Of lines whose name begins with one of these words. */
export type Colours = Readonly<Record<string, Colour | 'red'>>

export const STANDING: Colours = {
  trusted: 'dark-green',
  known: 'green',
  seen: 'blue',
  new: 'yellow',
  suspect: 'orange',
  banned: 'purple',
}

/** Of messages, recipients and sessions. */
export const RESULT: Colours = {
  accepted: 'green',
  relayed: 'green',
  deferred: 'yellow',
  shed: 'yellow',
  rejected: 'purple',
  aborted: 'light-blue',
  unknown: 'orange',
  none: 'text',
}

/** Of answers of Redis, the DNS and mail servers. */
export const ANSWER: Colours = {
  ok: 'green',
  answered: 'green',
  clear: 'green',
  resumed: 'light-green',
  absent: 'blue',
  listed: 'purple',
  failed: 'orange',
  error: 'orange',
  timeout: 'yellow',
  refused: 'purple',
  busy: 'light-yellow',
  empty: 'dark-purple',
}

const IN_TURN: readonly Colour[] = [
  'blue',
  'yellow',
  'purple',
  'green',
  'orange',
  'light-blue',
  'dark-yellow',
  'light-purple',
  'dark-green',
  'light-orange',
  'dark-blue',
  'light-yellow',
  'dark-purple',
  'light-green',
  'text',
]

/** One after the other, for names of a closed set that mean nothing good or bad. */
export const inTurn = (names: readonly string[]): Colours =>
  Object.fromEntries(names.map((name, i) => [name, IN_TURN[i % IN_TURN.length] as Colour]))

export const QUANTILE: Colours = { p50: 'light-blue', p95: 'blue', p99: 'purple' }
