import { describe, expect, it } from 'vitest';
import { SessionMemory } from '../../../src/replay/plan/sessions.ts';

describe('SessionMemory', () => {
  it('decides a session once, and anew when it was silent for over half an hour', () => {
    const memory = new SessionMemory<number>();
    let next = 0;
    const at = (minutes: number) => memory.of('a', minutes * 60e6, () => next++);
    expect([0, 20, 50, 80, 111].map(at)).toEqual([0, 0, 0, 0, 1]);
    expect(memory.forgotten).toBe(0);
  });

  it('forgets the one that was silent longest, and counts that', () => {
    const memory = new SessionMemory<string>(2);
    for (const name of ['a', 'b', 'a', 'c']) memory.of(name, 0, () => name);
    expect(memory.forgotten).toBe(1);
    expect(memory.of('a', 0, () => 'anew')).toBe('a');
    expect(memory.of('b', 0, () => 'anew')).toBe('anew');
  });
});
