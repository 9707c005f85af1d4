/**
 * The metrics of one mail server, looked up in advance: a look-up by label values joins strings, and a single message would need
 * ten of them.
 */
import { recordOf } from '../../core/record.ts'
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

export function seriesOf(
  metrics: Pick<Metrics, 'upstreamConnects' | 'upstreamReplies' | 'upstreamReplyDuration'>,
  label: string,
): UpstreamSeries {
  const classes = ['2xx', '3xx', '4xx', '5xx'].map((name) => metrics.upstreamReplies.of(label, name))
  return {
    connects: recordOf(CONNECT_RESULTS, (result) => metrics.upstreamConnects.of(label, result)),
    durations: recordOf(UPSTREAM_COMMANDS, (command) => metrics.upstreamReplyDuration.of(label, command)),
    replies: (code) => classes[Math.floor(code / 100) - 2] as Cell,
  }
}
