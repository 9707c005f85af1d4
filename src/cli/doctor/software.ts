/** What mail server it is, by its banner, and what its settings are called. A banner may say anything: no verdict follows from it. */

export type ServerKind = 'postfix' | 'exim' | 'exchange' | 'sendmail' | 'opensmtpd' | 'other'

const BANNERS: readonly (readonly [RegExp, ServerKind])[] = [
  [/postfix/i, 'postfix'],
  [/\bexim\b/i, 'exim'],
  [/Microsoft ESMTP/i, 'exchange'],
  [/sendmail/i, 'sendmail'],
  [/OpenSMTPD/i, 'opensmtpd'],
]

export const kindOf = (banner: string): ServerKind => BANNERS.find(([says]) => says.test(banner))?.[1] ?? 'other'

export interface Software {
  /** How it is told to believe XCLIENT from this address. */
  readonly xclient: (from: string) => string
  /** How it is told to expect a PROXY header. */
  readonly proxy: string
  /** How it is kept from relaying for whoever comes from this address, where it takes us for the client. */
  readonly relay: (from: string) => string
  /** How it is kept from relaying for everybody, where it knows who the client is. */
  readonly relayAll: string
  /** Where its limits for one client are, and how they are lifted for this address. */
  readonly limit: (from: string) => { readonly look: string; readonly lift: string }
}

const POSTFIX: Software = {
  xclient: (from) => `main.cf: smtpd_authorized_xclient_hosts = ${from}; then postfix reload`,
  proxy:
    'master.cf: -o smtpd_upstream_proxy_protocol=haproxy on a port of its own, and that port in SPILLWAY_UPSTREAMS',
  relay: (from) =>
    `take ${from} out of mynetworks, and let it name the client: smtpd_authorized_xclient_hosts = ${from} with SPILLWAY_UPSTREAM_CLIENT_IP=xclient`,
  relayAll:
    'main.cf: smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination, and no strangers in mynetworks',
  limit: (from) => ({
    look: 'smtpd_client_connection_count_limit (50), smtpd_client_connection_rate_limit and default_process_limit (100)',
    lift: `main.cf: smtpd_client_event_limit_exceptions = ${from}; then postfix reload. If it was the whole server, raise default_process_limit`,
  }),
}
const OTHER: Software = {
  xclient: (from) =>
    `let the mail server believe XCLIENT from ${from} (Postfix: smtpd_authorized_xclient_hosts), or use SPILLWAY_UPSTREAM_CLIENT_IP=proxy-v2 if it knows the PROXY protocol`,
  proxy: 'let the mail server expect a PROXY header on this port, or choose another SPILLWAY_UPSTREAM_CLIENT_IP',
  relay: (from) =>
    `take ${from} out of the networks that it relays for, and let it learn who the client is (SPILLWAY_UPSTREAM_CLIENT_IP)`,
  relayAll: 'it relays for strangers, whoever they are: let it take recipients of its own domains only',
  limit: (from) => ({
    look: 'its limits for one client, by address and by rate',
    lift: `lift its limit on connections of one client for ${from}`,
  }),
}

const ALL: Readonly<Record<ServerKind, Software>> = {
  postfix: POSTFIX,
  exim: {
    ...OTHER,
    xclient: () =>
      'Exim knows no XCLIENT in most builds: set hosts_proxy there, and SPILLWAY_UPSTREAM_CLIENT_IP=proxy-v2 here',
    proxy: 'set hosts_proxy to the address of Spillway in the configuration of Exim',
    relay: (from) => `take ${from} out of relay_from_hosts in the configuration of Exim, and set hosts_proxy = ${from}`,
    limit: (from) => ({
      look: 'smtp_accept_max_per_host, smtp_accept_max (20) and smtp_accept_reserve',
      lift: `raise smtp_accept_max_per_host for ${from}, and smtp_accept_max for all`,
    }),
  },
  exchange: {
    ...OTHER,
    xclient: () => 'Exchange knows no XCLIENT: use SPILLWAY_UPSTREAM_CLIENT_IP=received',
    relay: (from) => `take ${from} out of the receive connector that may relay (ms-Exch-SMTP-Accept-Any-Recipient)`,
    limit: (from) => ({
      look: 'MaxInboundConnectionPerSource (20) and MaxInboundConnectionPercentagePerSource of the receive connector',
      lift: `Set-ReceiveConnector … -MaxInboundConnectionPerSource unlimited, on a connector of its own for ${from}`,
    }),
  },
  sendmail: {
    ...OTHER,
    limit: (from) => ({
      look: 'ClientConn and ClientRate in the access map (conncontrol, ratecontrol)',
      lift: `access map: ClientConn:${from} 0, ClientRate:${from} 0`,
    }),
  },
  opensmtpd: OTHER,
  other: OTHER,
}

export const softwareOf = (kind: ServerKind): Software => ALL[kind]
