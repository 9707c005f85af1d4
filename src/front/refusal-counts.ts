/** Counts refusals by mode, stage, reason and action, each in a cell that is looked up for every refused client without building a key. */
import { type Mode, type Refusal, STAGES, type Stage } from '../core/policy.ts'
import { formOf, patientFormOf, REASON_NAMES, type ReasonName, reasonOf } from '../core/reasons.ts'
import { recordOf } from '../core/record.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Cell } from '../telemetry/series.ts'

type Cells = Readonly<Record<Mode, Readonly<{ [S in Stage]: ReadonlyMap<ReasonName, Cell> }>>>
type Forms = (name: ReasonName, stage: Stage) => { readonly action: Refusal['action'] } | undefined

function cellsOf({ refusals }: Pick<Metrics, 'refusals'>, formAt: Forms): Cells {
  const at = (mode: Mode, stage: Stage) =>
    new Map(
      REASON_NAMES.flatMap((name) => {
        const { stages, check } = reasonOf(name)
        const form = formAt(name, stage)
        const isCounted = stages.includes(stage) && (mode === 'enforce' || check !== undefined)
        return form !== undefined && isCounted ? [[name, refusals.of(stage, name, form.action, mode)] as const] : []
      }),
    )
  return {
    enforce: recordOf(STAGES, (stage) => at('enforce', stage)),
    observe: recordOf(STAGES, (stage) => at('observe', stage)),
  }
}

export class RefusalCounts {
  readonly #usual: Cells
  /** What relays hear in place of refusals for good. */
  readonly #patient: Cells

  constructor(metrics: Pick<Metrics, 'refusals'>) {
    this.#usual = cellsOf(metrics, formOf)
    this.#patient = cellsOf(metrics, patientFormOf)
  }

  count(stage: Stage, { reason, action }: Refusal, mode: Mode): void {
    const isPatient = action === 'defer' && reasonOf(reason).action === 'reject'
    const cell = (isPatient ? this.#patient : this.#usual)[mode][stage].get(reason)
    if (cell === undefined) throw new Error(`${reason} is no reason of stage ${stage} in mode ${mode}`)
    cell.value++
  }
}
