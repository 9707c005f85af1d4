/**
 * The client leaves or falls silent. At each step it has sent that command and has not heard the reply. At XCLIENT it
 * has sent its first recipient, and the connection to the upstream is still being set up.
 */
import { type Expected, type Row, UPSTREAM_HEARS, type Why } from './faults-table.ts'

const IDLE = 'SPILLWAY_IDLE_TIMEOUT'
const IDLE_IN_BODY = 'SPILLWAY_IDLE_TIMEOUT, never less than 60 s'

/** Before there is anything to relay. `reply`: to what was sent before the fault. */
function early(step: Row['step'], reply: readonly string[]): Row {
  const cell = (hears: readonly string[], ...why: Why[]): Expected => ({
    hears: hears.join(', '),
    saw: '',
    message: 'none',
    counted: '',
    delivered: 0,
    why: ['no mail', ...why],
  })
  return {
    step,
    stallEnds: IDLE,
    cells: {
      close: cell([]),
      reset: cell([]),
      'half-close': cell([...reply, 'close'], 'no more'),
      stall: cell([...reply, '421 4.4.2', 'close'], 'idle'),
    },
  }
}

/** After the upstream was contacted. `taken`: whether it had accepted a recipient before. */
function envelope(step: 'XCLIENT' | 'first RCPT' | 'second RCPT', taken: boolean): Row {
  const cell = (hears: string, saw: string, counted: string, ...why: Why[]): Expected => ({
    hears,
    saw,
    message: 'none',
    counted,
    delivered: 0,
    why,
  })
  const heard = UPSTREAM_HEARS[step === 'second RCPT' ? step : 'first RCPT']
  return {
    step,
    stallEnds: IDLE,
    cells: {
      close: cell('', `${heard} QUIT`, 'aborted', 'given up', 'no more'),
      reset: cell('', step === 'XCLIENT' ? 'EHLO XCLIENT' : heard, taken ? 'aborted' : '', 'given up', 'gone at once'),
      'half-close': cell('250 2.1.5, close', `${heard} QUIT`, 'aborted', 'given up', 'no more'),
      stall: cell('250 2.1.5, 421 4.4.2, close', `${heard} QUIT`, 'aborted', 'given up', 'idle'),
    },
  }
}

/** From DATA on, before the dot. */
function unfinished(step: Row['step'], reply: readonly string[], message: Expected['message'], ...why: Why[]): Row {
  const cell = (hears: readonly string[], ...more: Why[]): Expected => ({
    hears: hears.join(', '),
    saw: UPSTREAM_HEARS.DATA,
    message,
    counted: 'aborted',
    delivered: 0,
    why: [...why, ...more],
  })
  return {
    step,
    stallEnds: IDLE_IN_BODY,
    cells: {
      close: cell([]),
      reset: cell([]),
      'half-close': cell([...reply, 'close'], 'no end'),
      stall: cell([...reply, '421 4.4.2', 'close'], 'idle'),
    },
  }
}

/** After the dot. */
function finished(step: Row['step'], reply: readonly string[], why: readonly Why[], unheard: readonly Why[]): Row {
  const cell = (hears: readonly string[], ...more: Why[]): Expected => ({
    hears: hears.join(', '),
    saw: `${UPSTREAM_HEARS.DATA} QUIT`,
    message: 'complete',
    counted: 'accepted',
    delivered: 1,
    why: [...why, ...more],
  })
  const left: Partial<Expected> = unheard.length > 0 ? { counted: 'accepted, client left: accepted' } : {}
  return {
    step,
    stallEnds: IDLE,
    cells: {
      close: { ...cell([], ...unheard), ...left },
      reset: { ...cell([], ...unheard), ...left },
      'half-close': { ...cell([...reply, 'close'], ...unheard), ...left },
      stall: cell([...reply, '421 4.4.2', 'close'], 'idle'),
    },
  }
}

export const CLIENT: readonly Row[] = [
  early('connect', ['220']),
  early('greeting', []),
  early('EHLO', ['250']),
  early('MAIL', ['250 2.1.0']),
  envelope('XCLIENT', false),
  envelope('first RCPT', false),
  envelope('second RCPT', true),
  unfinished('DATA', ['354'], 'none', 'no dot', 'given up'),
  unfinished('middle of the body', [], 'truncated', 'no dot'),
  unfinished('while the upstream does not read', [], 'truncated', 'no dot', 'unread'),
  unfinished('before the dot', [], 'truncated', 'no dot'),
  finished('between dot and reply', ['250 2.0.0'], ['past the dot'], ['not heard']),
  finished('after the reply', [], ['delivered'], []),
]
