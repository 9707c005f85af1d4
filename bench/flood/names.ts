// What the senders and the cluster agree on.

export const DOMAIN = 'cluster.example'
/** The end of every refusal by the cluster, by which senders tell its refusals from Spillway's. */
export const MARK = '(cluster)'
/** The reverse-path of a known sender that has turned bad. */
export const TURNED = 'turned@friend.example'
