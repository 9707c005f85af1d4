/** Tells the log of networks that have turned (overload/standing.ts): one line each, and a bounded number of lines, whatever clients do. */
import { hasTurned } from '../overload/standing.ts'
import { FORGOTTEN_MS, type LatestMail } from '../state/latest-mail.ts'
import type { Log } from '../telemetry/log.ts'

/** Networks that a line is written of within FORGOTTEN_MS. */
const MOST_TOLD = 64

/** The same, which tells the log when a message has made a network turn that was not told of within FORGOTTEN_MS. */
export function tellingOfTurned(
  latest: Pick<LatestMail, 'note' | 'of'>,
  log: Log,
  elapsed: () => number,
): Pick<LatestMail, 'note'> {
  const toldAt = new Map<string, number>()
  const tell = (net: string): void => {
    const now = elapsed()
    for (const [each, at] of toldAt) if (now - at >= FORGOTTEN_MS) toldAt.delete(each)
    if (toldAt.has(net) || toldAt.size >= MOST_TOLD) return
    toldAt.set(net, now)
    log.warn(
      { net },
      'most of what known clients of this network have sent within minutes was bad: they are held as one client until that is over',
    )
  }
  return {
    note(client, kind) {
      latest.note(client, kind)
      if (kind === 'bad' && hasTurned(latest.of(client))) tell(client.net)
    },
  }
}
