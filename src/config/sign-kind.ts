/** What follows from a sign that a client is no mail server (core/signs.ts). */
import type { SignMode } from '../core/signs.ts'
import { oneOf } from './kinds.ts'

export const signMode = oneOf<SignMode>({
  off: 'nobody looks',
  observe: 'they are counted and logged, and pass',
  defer: 'they hear a 4xx, and may try again',
  reject: 'they hear a 5xx',
})
