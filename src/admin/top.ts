/** GET /api/v1/top?by=network|helo|domain|reason: what comes most often, of the last minutes. */
import { type ReasonRow, TOP_OF, type TopBy, type TopOf, type TopRow } from '../telemetry/traffic/report.ts'
import type { Request } from './request.ts'
import { json, type Response, text } from './response.ts'
import type { Status } from './status.ts'

/** The most frequent first. */
export type TopReport =
  | { readonly by: TopBy; readonly rows: readonly TopRow[] }
  | { readonly by: 'reason'; readonly rows: readonly ReasonRow[] }

const isBy = (value: string | null): value is TopOf => TOP_OF.some((by) => by === value)

export async function topOf({ query }: Request, status: () => Status | Promise<Status>): Promise<Response> {
  const by = query.get('by')
  if (!isBy(by)) return text(400, `by: one of ${TOP_OF.join(', ')}, such as /api/v1/top?by=network`)
  const { traffic } = await status()
  const report: TopReport =
    by === 'reason' ? { by, rows: traffic?.reasons ?? [] } : { by, rows: traffic?.top[by] ?? [] }
  return json(200, report)
}
