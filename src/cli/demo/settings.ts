/**
 * The settings of the demo, loaded in the same way as an operator's, and the words for what they do. The user's own
 * SPILLWAY_* variables are ignored: the demo must show everybody the same, and must never touch a real mail server.
 */
import { type Loaded, load } from '../../config/load.ts'
import { isSetting, type SettingName, type Settings, settingOf, show } from '../../config/settings.ts'
import { type ReasonName, reasonOf } from '../../core/reasons.ts'
import { openFiles } from '../open-files.ts'
import { DENIED_NETWORK } from './flood.ts'
import { DOMAIN } from './mail-server.ts'

/** Far below the defaults: a flood that a laptop can send to itself must reach them within half a minute. */
const LIMITS = {
  SPILLWAY_LIMIT_IP_CONNECTIONS: '30/1m',
  SPILLWAY_LIMIT_IP_CONCURRENCY: '8',
  SPILLWAY_LIMIT_NET_CONNECTIONS: '90/1m',
  SPILLWAY_LIMIT_IP_UNKNOWN_RECIPIENTS: '5/1m',
  SPILLWAY_IDLE_TIMEOUT: '20s',
} as const satisfies Partial<Record<SettingName, string>>

export interface Demo {
  readonly mail: number
  readonly admin: number
  readonly mailServer: number
  readonly names: number
  /** The file that the history of senders is learnt from, and kept in. */
  readonly history: string
}

/** @throws SettingsError where this machine allows too few open files */
export function demoSettings({ mail, admin, mailServer, names, history }: Demo): Loaded {
  const env: Partial<Record<SettingName, string>> = {
    ...LIMITS,
    SPILLWAY_UPSTREAMS: `127.0.0.1:${mailServer}`,
    SPILLWAY_UPSTREAM_CLIENT_IP: 'xclient',
    SPILLWAY_LISTEN: `127.0.0.1:${mail}`,
    SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${admin}`,
    SPILLWAY_HOSTNAME: `mx.${DOMAIN}`,
    SPILLWAY_DNS_SERVERS: `127.0.0.1:${names}`,
    SPILLWAY_RCPT_DOMAINS: DOMAIN,
    SPILLWAY_DENY: DENIED_NETWORK,
    SPILLWAY_HISTORY_FILE: history,
    // As many as the mail server can make use of.
    SPILLWAY_UPSTREAM_MAX_CONNECTIONS: '8',
    // The senders and the mail server are in this process, too, and keep its event loop busy.
    SPILLWAY_OVERLOAD_EVENT_LOOP: '1s',
    // After Ctrl-C nobody wants to wait for a forgotten session of their own.
    SPILLWAY_SHUTDOWN_TIMEOUT: '1s',
  }
  const readFile = (path: string): string => {
    throw new Error(`the demo reads no files, and was asked for ${path}`)
  }
  return load({ env, readFile, hostname: `mx.${DOMAIN}`, openFiles: openFiles() })
}

/** Names of settings in the user's environment that the demo does not use. */
export const ignored = (env: Readonly<Record<string, string | undefined>>): string[] =>
  Object.keys(env).filter((name) => /^SPILLWAY_[A-Z0-9_]+$/.test(name))

/**
 * What a reason means. The names of settings are replaced by their values in this run, with the defaults beside them.
 */
export function meaningOf(reason: ReasonName, settings: Settings): string {
  return reasonOf(reason).operator.replace(/(\()?\b(SPILLWAY_[A-Z0-9_]+)/g, (_, bracket: string | undefined, name) => {
    if (!isSetting(name)) return `${bracket ?? ''}${name}`
    const value = show(name, settings)
    const { default: usual } = settingOf(name)
    if (usual === undefined || usual === value) return `${bracket ?? ''}${value}`
    return bracket === undefined ? `${value} (default ${usual})` : `(${value}, default ${usual}`
  })
}
