// The parts of Grafana's dashboard model that are drawn.

export interface Target {
  readonly expr: string
  readonly legendFormat: string
  readonly instant?: boolean
}

export interface Step {
  readonly value: number | null
  readonly color: string
}

export interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly targets?: readonly Target[]
  readonly fieldConfig?: {
    readonly defaults: {
      readonly unit?: string
      readonly color?: { readonly mode: string; readonly fixedColor?: string }
      readonly custom?: { readonly stacking?: { readonly mode: string } }
      readonly thresholds?: { readonly steps: readonly Step[] }
      readonly mappings?: readonly {
        readonly options: Readonly<Record<string, { readonly text: string; readonly color: string }>>
      }[]
    }
    readonly overrides?: readonly {
      readonly matcher: { readonly id: string; readonly options: string }
      readonly properties: readonly { readonly id: string; readonly value: { readonly fixedColor: string } }[]
    }[]
  }
  readonly options?: {
    readonly content?: string
    readonly legend?: { readonly displayMode: string }
    readonly graphMode?: string
  }
  readonly transformations?: readonly {
    readonly id: string
    readonly options: { readonly renameByName?: Readonly<Record<string, string>> }
  }[]
}

export interface Dashboard {
  readonly title: string
  readonly panels: readonly Panel[]
}

/** A series of an answer, with its name in the legend. */
export interface Drawn {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  /** Times in seconds since the epoch. Numbers that are none (NaN) are left out. */
  readonly values: readonly (readonly [time: number, value: number])[]
}
