/** There is no slot to be had: no server is up, or no slot came free in time. */
export class NoUpstream extends Error {
  readonly why: 'upstream_down' | 'upstream_full'
  constructor(why: NoUpstream['why']) {
    super(why)
    this.name = 'NoUpstream'
    this.why = why
  }
}
