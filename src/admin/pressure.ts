/** POST /api/v1/pressure: somebody who sees the queue of a mail server says how full it is. */
import { isPressure, PRESSURE, type PressureReport, REPORT_MS } from '../core/overload.ts'
import { objectIn } from './body.ts'
import type { Request } from './request.ts'
import { json, type Response, text } from './response.ts'

export interface PressureParts {
  /** The mail servers in force, as the operator wrote them. */
  readonly upstreams: () => readonly string[]
  readonly reported: (report: PressureReport) => void
}

export function pressureReported(request: Request, { upstreams, reported }: PressureParts): Response {
  const [example = ''] = upstreams()
  const read = objectIn(request, JSON.stringify({ upstream: example, value: 0.5 }))
  if ('code' in read) return read
  const { upstream, value } = read.fields
  if (typeof upstream !== 'string' || !upstreams().includes(upstream)) {
    return text(400, `upstream: one of ${upstreams().join(', ')}, as SPILLWAY_UPSTREAMS has it`)
  }
  if (!isPressure(value)) return text(400, `value: ${PRESSURE}`)
  reported({ upstream, value })
  return json(200, { upstream, value, seconds: REPORT_MS / 1000 })
}
