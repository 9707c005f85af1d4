/** `spillway explain`: what it says of an id, and its exit codes. */
import { describe, expect, test } from '@jest/globals'
import { explain } from '../../src/cli/explain.ts'
import { refusalId } from '../../src/core/id.ts'
import { formsOf, REASON_NAMES } from '../../src/core/reasons.ts'
import { run } from '../support/program.ts'

describe('spillway explain', () => {
  test('from the command line it says why and when', async () => {
    const { code, output } = await run(['explain', '1RV17D4600503'], { env: {} })
    expect({ code, output }).toMatchObject({
      code: 0,
      output: expect.stringContaining('Turned away because the address connects more often than'),
    })
    expect(output).toContain('grep 1RV17D46005')
  })

  test('where the settings have mistakes it says what to do about them', async () => {
    const { code, output } = await run(['explain', '1RV17D4600501'], { env: { SPILLWAY_BAN_TIME: '5' } })
    expect(code).toBe(0)
    expect(output).toMatch(/^Turned away because the address is on the deny list \(SPILLWAY_DENY\)\.\n/)
    expect(output).toContain('The reason is denied there.')
    expect(output).toContain('It heard "554 5.7.1 Refused by local policy", or the same with 550 5.7.1.')
    expect(output).toMatch(
      /The node was not asked: there are mistakes in the settings\. .*--env-file PATH.*spillway check/,
    )
  })

  test('each reason is the rest of a sentence, and each form of it is told', () => {
    for (const name of REASON_NAMES) {
      const { output } = explain(refusalId('1RV17D46005', name), { json: false })
      const [first, , heard] = output.split('\n') as [string, string, string]
      expect(first).toMatch(/^Turned away because (the|a|an|its|all|no|there|this|five or more|Spillway) .*\w\)?\.$/)
      for (const { code, enhanced } of formsOf(name)) expect(heard).toContain(`${code} ${enhanced}`)
    }
  })

  test('the words of a mail server and the id of a session have no reason', () => {
    expect(explain('1RV17D4600500', { json: false }).output).toContain('A mail server refused it')
    expect(JSON.parse(explain('1RV17D46005', { json: true }).output)).not.toHaveProperty('reason')
  })

  test('what is no id is said to be none, with what is special in it escaped', () => {
    const { code, output } = explain('\u001b[2Jx', { json: false })
    expect(code).toBe(64)
    expect(output).toContain('is no id')
    expect(output).not.toContain('\u001b')
  })
})
