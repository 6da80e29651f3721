import { describe, expect, it } from 'vitest';
import { NO_BODY_RULES, parseBodyRules } from '../../src/redaction/body-rules.ts';

describe('redaction rules', () => {
  it('are read from pointer=action, and survive a trip through JSON', () => {
    const rules = parseBodyRules(['/messages/*/content=mask', '/a=b=drop', '=hash'], ['chat', 'v2', 'chat']);
    expect(rules).toEqual({
      rules: [
        { pointer: '/messages/*/content', action: 'mask' },
        { pointer: '/a=b', action: 'drop' },
        { pointer: '', action: 'hash' },
      ],
      presets: ['chat', 'v2'],
    });
    expect(JSON.parse(JSON.stringify(rules))).toEqual(rules);
    expect(parseBodyRules([])).toEqual(NO_BODY_RULES);
  });

  it.each([
    [['/a'], [], 'names no action', 'mask'],
    [['/a=erase'], [], 'names no action', 'hash, mask, drop'],
    [['/a=keep'], [], 'names no action', 'hash, mask, drop'],
    [['/a=MASK'], [], 'names no action', 'hash, mask, drop'],
    [['a=mask'], [], 'does not begin with /', '/a'],
    [[], ['openai'], 'is not a redaction preset', 'chat, v1, v2'],
    [[], ['toString'], 'is not a redaction preset', 'chat, v1, v2'],
    [Array.from({ length: 65 }, (_, index) => `/${index}=mask`), [], 'more than 64', 'below its pointer'],
  ])('refuse %j and %j with the way out', (texts, presets, problem, hint) => {
    expect(() => parseBodyRules(texts, presets)).toThrowError(
      expect.objectContaining({
        code: 'OPTION_INVALID',
        message: expect.stringContaining(problem),
        hint: expect.stringContaining(hint),
      }),
    );
  });
});
