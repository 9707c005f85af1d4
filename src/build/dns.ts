/** Builds what asks the DNS about clients. Nothing is asked before there is a client. */
import type { PlainSettings } from '../config/settings.ts'
import type { Clock } from '../core/clock.ts'
import { Dns } from '../dns/dns.ts'
import { ClientNames, type NameOf } from '../dns/names.ts'
import { ClientDomains } from '../front/client-domains.ts'
import type { History } from '../state/history.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface DnsSources {
  /** Those in force. */
  readonly settingsNow: () => Pick<PlainSettings, 'dnsServers' | 'historyDomains'>
  readonly history: Pick<History, 'domains'>
  readonly metrics: Metrics
  readonly clock: Clock
}

export interface BuiltDns {
  readonly domains: ClientDomains
  /** For whoever waits. */
  readonly nameOf: NameOf
  /** Gives up what is being asked. */
  stop(): void
}

export function buildDns({ settingsNow, history, metrics, clock }: DnsSources): BuiltDns {
  const dns = new Dns({ servers: () => settingsNow().dnsServers, metrics, elapsed: clock.elapsed })
  const names = new ClientNames({ dns, metrics, elapsed: clock.elapsed })
  const isOn = () => settingsNow().historyDomains
  const domains = new ClientDomains({ names, domains: history.domains, isOn })
  return { domains, nameOf: (ip) => names.find(ip), stop: () => dns.stop() }
}
