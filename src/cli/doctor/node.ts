/** Whether a node runs with these settings, and what it says of itself: its admin port tells. */
import type { Status } from '../../admin/status.ts'
import { hostPortsText } from '../../config/address-kinds.ts'
import type { PlainSettings } from '../../config/settings.ts'
import { type Answer, askNode, whyRefused } from '../ask-node.ts'
import type { Budget, Findings } from './finding.ts'

export interface RunningNode {
  readonly version: string
  /** How many files each of its processes may have open at least; undefined where it does not say. */
  readonly openFiles: number | undefined
}

const ASK_MS = 3000

/** @returns undefined if none runs, or it cannot be asked */
export async function aboutNode(
  settings: PlainSettings,
  found: Findings,
  budget: Budget,
): Promise<RunningNode | undefined> {
  const at = hostPortsText([settings.adminListen])
  if (settings.adminListen.port === 0) {
    found.ok('node', 'SPILLWAY_ADMIN_LISTEN has port 0, so a node that runs could not be found')
    return undefined
  }
  const ask = (path: string): Promise<Answer> =>
    askNode(settings, { method: 'GET', path, longestMs: budget.left(ASK_MS) })
  let answer: Answer
  try {
    answer = await ask('/api/v1/status')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ECONNREFUSED') found.ok('node', `none runs with these settings (nothing listens at ${at})`)
    else
      found.warn(
        'node',
        `what listens at ${at} (SPILLWAY_ADMIN_LISTEN) has not answered`,
        'ss -ltnp shows which program it is; if it is Spillway, see its log',
      )
    return undefined
  }
  const status = statusOf(answer)
  if (status === undefined) {
    const why = whyRefused(answer.status, at, settings.adminToken) ?? `What answers at ${at} is not Spillway.`
    found.warn('node', why, 'give the settings that the node was started with, or choose another SPILLWAY_ADMIN_LISTEN')
    return undefined
  }
  const metrics = (await ask('/metrics').catch(() => undefined))?.body ?? ''
  tell(status, metrics, found)
  return { version: status.version, openFiles: leastOf(metrics, 'process_max_fds') }
}

function statusOf({ status, body }: Answer): Status | undefined {
  if (status !== 200) return undefined
  try {
    const told = JSON.parse(body) as Partial<Status>
    return typeof told.version === 'string' && Array.isArray(told.upstreams) ? (told as Status) : undefined
  } catch {
    return undefined
  }
}

function tell(status: Status, metrics: string, found: Findings): void {
  const { version, ready, uptimeSeconds, settings, overload } = status
  const words = `version ${version}, up for ${Math.round(uptimeSeconds)} s`
  if (ready) found.ok('node', `it runs and takes clients: ${words}`)
  else found.warn('node', `it runs and takes no clients: ${words}`, 'it starts or drains; /readyz?verbose says more')
  if (settings.needsRestart.length > 0)
    found.warn(
      'reload',
      `it has older values of ${settings.needsRestart.join(', ')}`,
      'spillway serve --take-over, or a restart',
    )
  if (overload !== undefined && overload.level > 0)
    found.warn('overload', `level ${overload.level} (${overload.signal})`, 'docs/overload.md says what becomes of whom')
  const errors = leastOf(metrics, 'spillway_balancer_errors_total') ?? 0
  if (errors > 0)
    found.warn(
      'balancer',
      `${errors} connections came from SPILLWAY_PROXY_PROTOCOL_FROM without a PROXY header`,
      'the network of the balancer is too wide and has clients in it, or the balancer sends no header: the log has the addresses',
    )
}

/** The smallest value of a metric, whatever its labels. */
function leastOf(metrics: string, name: string): number | undefined {
  const values = metrics
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)))
    .filter((value) => !Number.isNaN(value))
  return values.length === 0 ? undefined : Math.min(...values)
}
