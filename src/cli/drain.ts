/** `spillway drain` and `spillway undrain`: take a mail server, or this node, out of use for a while, and have it back. */
import type { DrainReport } from '../admin/orders.ts'
import type { Loaded } from '../config/load.ts'
import type { SettingsError } from '../config/mistakes.ts'
import { askFor, LONGEST_MS, runVerb, timeOf, type VerbOptions, type VerbTold } from './admin-verb.ts'

interface DrainOptions extends VerbOptions {
  readonly force?: boolean | undefined
}

/** All that is drained now, whatever was asked for. */
function inWords({ since, upstreams }: DrainReport): string {
  const node =
    since === undefined
      ? 'The node is not drained.'
      : `The node is drained since ${timeOf(since)}: /readyz says 503, and whoever still comes is served.`
  const servers =
    upstreams.length === 0
      ? 'No mail server is drained.'
      : `Drained mail servers, which get no new mail: ${upstreams.join(', ')}.`
  return `${node}\n${servers}\n`
}

/** Never rejects. @param upstream as SPILLWAY_UPSTREAMS has it; undefined: this node */
export const drain = (
  way: 'drain' | 'undrain',
  loaded: Loaded | SettingsError,
  [upstream]: readonly string[],
  options: DrainOptions,
): Promise<VerbTold> =>
  runVerb(
    loaded,
    options,
    () => async (admin) => {
      const body = JSON.stringify({
        ...(upstream !== undefined && { upstream }),
        ...(options.force === true && { force: true }),
      })
      return (await askFor(admin, {
        method: 'POST',
        path: `/api/v1/${way}`,
        body,
        longestMs: LONGEST_MS,
      })) as DrainReport
    },
    inWords,
  )
