import { KeyFrameRule } from '@espalier/agent/slot/key-frame-rule'
import { describe, expect, test } from 'vitest'

describe('the rule for key frames', () => {
  test('asks for the first frame, then for one in each interval', () => {
    const rule = new KeyFrameRule(10)
    expect(rule.isDue(500)).toBe(true)
    rule.record({ atMs: 500, frameKind: 'key', isSent: true })
    expect(rule.isDue(10_499)).toBe(false)
    expect(rule.isDue(10_500)).toBe(true)
  })

  test('asks after a frame that nobody has, until one stands alone and is sent', () => {
    const rule = new KeyFrameRule(60)
    rule.record({ atMs: 0, frameKind: 'key', isSent: true })
    rule.record({ atMs: 200, frameKind: 'inter', isSent: false })
    expect(rule.isDue(400)).toBe(true)
    rule.record({ atMs: 400, frameKind: 'key', isSent: false })
    expect(rule.isDue(600)).toBe(true)
    rule.record({ atMs: 600, frameKind: 'key', isSent: true })
    expect(rule.isDue(800)).toBe(false)
  })

  test('asks when somebody does', () => {
    const rule = new KeyFrameRule(60)
    rule.record({ atMs: 0, frameKind: 'key', isSent: true })
    rule.request()
    expect(rule.isDue(1)).toBe(true)
  })

  test('makes every frame one where the interval is zero', () => {
    const rule = new KeyFrameRule(0)
    rule.record({ atMs: 5, frameKind: 'key', isSent: true })
    expect(rule.isDue(5)).toBe(true)
  })
})
