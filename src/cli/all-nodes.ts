/** Asks the node that runs with these settings what all nodes say. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { NodesAsked } from '../admin/explain.ts'
import { askFor, LONGEST_MS } from './admin-verb.ts'
import type { Admin } from './ask-node.ts'

/** Checks of many nodes begin in the same second, and only so many questions are open at once: that is over soon. */
const BUSY_MS = 700
const MOST_ASKED = 4

/** Asks again where too much is asked at once. @returns undefined: the node is of an earlier version, or does not answer; never rejects */
export async function ofAllNodes<T extends { readonly nodesAsked: NodesAsked }>(
  admin: Admin,
  path: '/api/v1/nodes' | '/api/v1/nodes/bans',
): Promise<T | undefined> {
  for (let asked = 1; ; asked++) {
    const told = (await askFor(admin, { method: 'GET', path, longestMs: LONGEST_MS }).catch(() => undefined)) as
      | T
      | undefined
    if (told?.nodesAsked.redis !== 'busy' || asked === MOST_ASKED) return told
    await sleep(BUSY_MS)
  }
}
