/** GET /api/v1/top?by=network|helo|domain|reason: what comes most often, of the last minutes. */
import { TOP_BY } from '../telemetry/traffic/report.ts'
import type { Request } from './request.ts'
import { json, type Response, text } from './response.ts'
import type { Status } from './status.ts'

const BY = [...TOP_BY, 'reason'] as const
type By = (typeof BY)[number]
const isBy = (value: string | null): value is By => BY.some((by) => by === value)

export async function topOf({ query }: Request, status: () => Status | Promise<Status>): Promise<Response> {
  const by = query.get('by')
  if (!isBy(by)) return text(400, `by: one of ${BY.join(', ')}, such as /api/v1/top?by=network`)
  const { traffic } = await status()
  const rows = by === 'reason' ? traffic?.reasons : traffic?.top[by]
  return json(200, { by, rows: rows ?? [] })
}
