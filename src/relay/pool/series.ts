/**
 * The metrics of one mail server, looked up in advance: a look-up by label values joins strings, and a single message would need
 * ten of them.
 */
import {
  CONNECT_RESULTS,
  type ConnectResult,
  type Metrics,
  UPSTREAM_COMMANDS,
  type UpstreamCommand,
} from '../../telemetry/metrics.ts'
import type { Cell, Distribution } from '../../telemetry/series.ts'

export interface UpstreamSeries {
  readonly connects: Readonly<Record<ConnectResult, Cell>>
  /** In seconds. */
  readonly durations: Readonly<Record<UpstreamCommand, Distribution>>
  /** The cell for the class of a reply code, 200 to 599. */
  replies(code: number): Cell
}

/** One entry for every key of a closed set. */
const each = <K extends string, V>(keys: readonly K[], make: (key: K) => V): Record<K, V> =>
  Object.fromEntries(keys.map((key) => [key, make(key)])) as Record<K, V>

export function seriesOf(
  metrics: Pick<Metrics, 'upstreamConnects' | 'upstreamReplies' | 'upstreamReplyDuration'>,
  label: string,
): UpstreamSeries {
  const classes = ['2xx', '3xx', '4xx', '5xx'].map((name) => metrics.upstreamReplies.of(label, name))
  return {
    connects: each(CONNECT_RESULTS, (result) => metrics.upstreamConnects.of(label, result)),
    durations: each(UPSTREAM_COMMANDS, (command) => metrics.upstreamReplyDuration.of(label, command)),
    replies: (code) => classes[Math.floor(code / 100) - 2] as Cell,
  }
}
