/** Counts refusals by mode, stage, reason and action, each in a cell that is looked up for every refused client without building a key. */
import { type Mode, type Refusal, STAGES, type Stage } from '../core/policy.ts'
import { actionsAt, REASON_NAMES, type ReasonName, reasonOf } from '../core/reasons.ts'
import { recordOf } from '../core/record.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Cell } from '../telemetry/series.ts'

type ByAction = { readonly [A in Refusal['action']]?: Cell }
type Cells = Readonly<Record<Mode, Readonly<{ [S in Stage]: ReadonlyMap<ReasonName, ByAction> }>>>

function cellsOf({ refusals }: Pick<Metrics, 'refusals'>): Cells {
  const at = (mode: Mode, stage: Stage) =>
    new Map(
      REASON_NAMES.flatMap((name): [ReasonName, ByAction][] => {
        const { stages, check } = reasonOf(name)
        const isCounted = stages.includes(stage) && (mode === 'enforce' || check !== undefined)
        return isCounted
          ? [[name, recordOf(actionsAt(name, stage), (action) => refusals.of(stage, name, action, mode))]]
          : []
      }),
    )
  return {
    enforce: recordOf(STAGES, (stage) => at('enforce', stage)),
    observe: recordOf(STAGES, (stage) => at('observe', stage)),
  }
}

export class RefusalCounts {
  readonly #cells: Cells

  constructor(metrics: Pick<Metrics, 'refusals'>) {
    this.#cells = cellsOf(metrics)
  }

  count(stage: Stage, { reason, action }: Refusal, mode: Mode): void {
    const cell = this.#cells[mode][stage].get(reason)?.[action]
    if (cell === undefined) throw new Error(`${reason} is no reason of stage ${stage} with ${action} in mode ${mode}`)
    cell.value++
  }
}
