/** An address that a node listens on at all its addresses is reached over loopback. */
export const reached = (host: string): string => (host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host)
