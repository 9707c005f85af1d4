/**
 * The upstream leaves or falls silent. At each step it owes the reply to that command. First there is no other
 * upstream, then there is one without a fault.
 */
import { type Expected, type Row, UPSTREAM_HEARS, type Why } from './faults-table.ts'

const REPLY = 'SPILLWAY_UPSTREAM_REPLY_TIMEOUT, at most 270 s in all'
const CONNECT = 'SPILLWAY_UPSTREAM_CONNECT_TIMEOUT'
const KEPT = `${REPLY}, half of what is left of those`
const LAST = 'SPILLWAY_UPSTREAM_DATA_TIMEOUT'

const alike = (cell: Expected): Row['cells'] => ({ close: cell, reset: cell, 'half-close': cell, stall: cell })

/** Of the commands up to DATA. */
const refused = (hears: string, saw: string, ...why: Why[]): Row['cells'] =>
  alike({ hears, saw, message: 'none', counted: 'deferred', delivered: 0, why })

const inBody = (message: Expected['message'], counted: string, ...why: Why[]): Expected => ({
  hears: '451 4.3.0',
  saw: UPSTREAM_HEARS.DATA,
  message,
  counted,
  delivered: message === 'complete' ? 1 : 0,
  why,
})

/** To both recipients, and to DATA. */
const ALL = '451 4.3.0, 451 4.3.0, 451 4.5.0'

/** After MAIL was accepted the two tables are the same. */
const TAKEN: readonly Row[] = [
  { step: 'first RCPT', stallEnds: REPLY, cells: refused(ALL, UPSTREAM_HEARS['first RCPT'], 'MAIL was taken') },
  {
    step: 'second RCPT',
    stallEnds: REPLY,
    cells: refused('451 4.3.0, 451 4.3.0', UPSTREAM_HEARS['second RCPT'], 'MAIL was taken'),
  },
  {
    step: 'DATA',
    stallEnds: 'SPILLWAY_UPSTREAM_REPLY_TIMEOUT, at most 110 s',
    cells: refused('451 4.3.0', UPSTREAM_HEARS.DATA, 'nothing began'),
  },
  {
    step: 'middle of the body',
    stallEnds: 'it takes nothing of the message for 180 s',
    cells: alike(inBody('truncated', 'deferred', 'heard at the dot')),
  },
  {
    step: 'while the upstream does not read',
    stallEnds: 'it takes nothing of the message for 180 s',
    cells: alike(inBody('truncated', 'deferred', 'heard at the dot')),
  },
  {
    step: 'before the dot',
    stallEnds: LAST,
    cells: {
      ...alike(inBody('truncated', 'deferred', 'heard at the dot')),
      // The dot lies in its buffers, and only the upstream itself knows whether it ever reads it.
      stall: inBody('truncated', 'unknown', 'doubt'),
    },
  },
  { step: 'between dot and reply', stallEnds: LAST, cells: alike(inBody('complete', 'unknown', 'doubt')) },
  {
    step: 'after the reply',
    stallEnds: KEPT,
    cells: alike({
      hears: '250 2.0.0',
      saw: UPSTREAM_HEARS.DATA,
      message: 'complete',
      counted: 'accepted',
      delivered: 1,
      why: ['replaced'],
    }),
  },
]

const early = (stallEnds: string, cells: (saw: string) => Row['cells']): readonly Row[] => [
  { step: 'connect', stallEnds: CONNECT, cells: cells('') },
  { step: 'greeting', stallEnds, cells: cells('') },
  { step: 'EHLO', stallEnds, cells: cells('EHLO') },
  { step: 'XCLIENT', stallEnds, cells: cells('EHLO XCLIENT') },
  { step: 'second EHLO', stallEnds, cells: cells(UPSTREAM_HEARS.hello) },
  { step: 'MAIL', stallEnds, cells: cells(UPSTREAM_HEARS['first RCPT']) },
]

export const UPSTREAM: readonly Row[] = [...early(REPLY, (saw) => refused(ALL, saw, 'another one')), ...TAKEN]

export const FAILOVER: readonly Row[] = [
  ...early(CONNECT, (saw) =>
    alike({
      hears: '250 2.0.0',
      saw,
      message: 'none',
      counted: 'accepted',
      delivered: 1,
      why: ['asked another'],
    }),
  ),
  ...TAKEN.filter(({ step }) => step !== 'while the upstream does not read'),
]
