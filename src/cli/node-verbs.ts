/** Runs the verbs that ask the node which runs with these settings. Each is loaded only where it is wanted: some run every few seconds. */
import type { Loaded } from '../config/load.ts'
import type { SettingsError } from '../config/mistakes.ts'
import type { Invocation } from './args.ts'

const NODE_VERBS = [
  'bans',
  'allow',
  'explain',
  'drain',
  'undrain',
  'level',
  'observe',
  'status',
  'top',
  'healthcheck',
] as const
export type NodeInvocation = Extract<Invocation, { verb: (typeof NODE_VERBS)[number] }>

export const asksNode = (asked: Invocation): asked is NodeInvocation => NODE_VERBS.some((verb) => verb === asked.verb)

export interface NodeTold {
  readonly output: string
  readonly code: number
  /** Whether it goes to stdout whatever the code is. */
  readonly always: boolean
}

/** Never rejects. */
export async function runNodeVerb(asked: NodeInvocation, loaded: Loaded | SettingsError): Promise<NodeTold> {
  const { positionals, options } = asked
  const { json: always } = options
  switch (asked.verb) {
    case 'bans':
    case 'allow': {
      const verbs = await import('./bans.ts')
      return { ...(await verbs[asked.verb](loaded, positionals, asked.options)), always }
    }
    case 'explain': {
      const { explained } = await import('./explain-verb.ts')
      return { ...(await explained(loaded, positionals, options)), always }
    }
    case 'drain':
    case 'undrain': {
      const { drain } = await import('./drain.ts')
      return { ...(await drain(asked.verb, loaded, positionals, options)), always }
    }
    case 'level': {
      const { level } = await import('./level.ts')
      return { ...(await level(loaded, positionals, asked.options)), always }
    }
    case 'observe': {
      const { observe } = await import('./observe.ts')
      return { ...(await observe(loaded, positionals, options)), always }
    }
    case 'status': {
      const { status } = await import('./status/status.ts')
      return { ...(await status(loaded, asked.options, Date.now())), always: true }
    }
    case 'top': {
      const { top } = await import('./top/top.ts')
      const { terminalScreen } = await import('./top/screen.ts')
      return { ...(await top(loaded, asked.options, terminalScreen())), always }
    }
    case 'healthcheck': {
      const { healthcheck } = await import('./healthcheck.ts')
      return { ...(await healthcheck(loaded, positionals, asked.options)), always: true }
    }
  }
}
