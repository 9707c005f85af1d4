/** Whether a node runs with these settings, and what it says of itself: its admin port tells. */
import { limitsThatDiffer, settingsThatDiffer } from '../../admin/differences.ts'
import type { Status } from '../../admin/status.ts'
import { fewRefused, mostLimited, nobody } from '../../admin/turned-away.ts'
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
  if (settings.adminListen.port === 0 && settings.adminListen.socket === undefined) {
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
  const files = valuesOf(metrics, 'process_max_fds')
  return { version: status.version, openFiles: files.length === 0 ? undefined : Math.min(...files) }
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
  const { version, ready, drainedSince, uptimeSeconds, settings, overload } = status
  const words = `version ${version}, up for ${Math.round(uptimeSeconds)} s`
  if (drainedSince !== undefined)
    found.warn('node', `it runs, and the operator has drained it since ${drainedSince}: ${words}`, 'spillway undrain')
  else if (ready) found.ok('node', `it runs and takes clients: ${words}`)
  else found.warn('node', `it runs and takes no clients: ${words}`, 'it starts or stops; /readyz?verbose says more')
  if (settings.needsRestart.length > 0)
    found.warn(
      'reload',
      `it has older values of ${settings.needsRestart.join(', ')}`,
      'spillway serve --take-over, or a restart',
    )
  const cure = 'give all nodes the same, and reload those that have the old ones'
  for (const each of limitsThatDiffer(status)) found.warn('limits', `not the same on all nodes: ${each}`, cure)
  for (const each of settingsThatDiffer(status))
    found.warn('settings', `other ones than here (${settings.hash}): ${each}`, `spillway check on both; ${cure}`)
  if (overload !== undefined && overload.level > 0)
    found.warn('overload', `level ${overload.level} (${overload.signal})`, 'docs/overload.md says what becomes of whom')
  refusals(status, found)
  balancers(metrics, found)
}

/** Whoever tries it out hears that it was turned away, and by which setting. */
function refusals(status: Status, found: Findings): void {
  const now = Date.now()
  const told = nobody(status, now) ?? mostLimited(status, now) ?? fewRefused(status, now)
  if (told === undefined) return
  if (told.severity === 'ok') found.ok('refusals', `${told.text} (${told.do})`)
  else found.warn('refusals', told.text, told.do)
}

/** Whether SPILLWAY_PROXY_PROTOCOL_FROM is the network of the balancer. */
function balancers(metrics: string, found: Findings): void {
  const errors = sum(valuesOf(metrics, 'spillway_balancer_errors_total'))
  if (errors > 0)
    found.warn(
      'balancer',
      `${errors} connections came from SPILLWAY_PROXY_PROTOCOL_FROM without a PROXY header`,
      'the network of the balancer is too wide and has clients in it, or the balancer sends no header: the log has the addresses',
    )
  const unlisted = sum(valuesOf(metrics, 'spillway_refusals_total', 'reason="proxy_unlisted"'))
  const connections = sum(valuesOf(metrics, 'spillway_connections_total'))
  // Anybody can send a header. That many do, only a balancer makes happen.
  if (unlisted > 0 && unlisted >= MUCH * connections)
    found.warn(
      'balancer',
      `${unlisted} of ${connections} connections brought a PROXY header and are not from SPILLWAY_PROXY_PROTOCOL_FROM`,
      'list the network of the balancer in SPILLWAY_PROXY_PROTOCOL_FROM: the log has the addresses',
    )
}

/** Of all connections. */
const MUCH = 0.2

const sum = (values: readonly number[]): number => values.reduce((all, each) => all + each, 0)

/** The values of a metric, whatever its other labels. @param label as it is printed */
const valuesOf = (metrics: string, name: string, label = ''): readonly number[] =>
  metrics
    .split('\n')
    .filter((line) => (line.startsWith(`${name} `) || line.startsWith(`${name}{`)) && line.includes(label))
    .map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)))
    .filter((value) => !Number.isNaN(value))
