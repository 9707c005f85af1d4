/** The servers that messages are sent through to, by name. */
import { startEximTarget } from './exim-target.ts'
import { startOpenSmtpdTarget } from './opensmtpd-target.ts'
import { startPostfixTarget } from './postfix-target.ts'
import { startScriptedTarget } from './scripted-target.ts'
import type { Target } from './target.ts'

export const TARGETS: Readonly<Record<string, () => Promise<Target>>> = {
  scripted: startScriptedTarget,
  postfix: startPostfixTarget,
  exim: startEximTarget,
  opensmtpd: startOpenSmtpdTarget,
}
