// What the senders and the cluster agree on.

export const DOMAIN = 'cluster.example'
/** What bench/processes.ts calls the nodes. */
export const HOSTNAME = 'mx.test.example'
/** The end of every refusal by the cluster, by which senders tell its refusals from Spillway's. */
export const MARK = '(cluster)'
/** The mailbox that the cluster is slow for (S10). */
export const SLOW_MAILBOX = `u0@${DOMAIN}`
/** The share of spam that the cluster recognizes, and refuses at the dot (assumed). */
export const RECOGNIZED = 0.5
/** The reverse-path of spam that is counted apart: of a known sender that has turned bad, and the like. */
export const TURNED = 'turned@friend.example'

/**
 * The address of a sender as a PROXY header tells it: one of 11.0.0.0/8 in place of 127.0.0.0/8. In a mail server's log 127.0.0.1 and its like
 * are the machine's own, and no senders.
 */
export const toldAs = (ip: string): string => ip.replace(/^127\./, '11.')
