/** What measures the process, for all nodes of a test: each such measure has a timer, which goes on when its node has stopped. */
import { measureProcess } from '../../src/telemetry/metrics.ts'

export const OF_PROCESS = measureProcess()
