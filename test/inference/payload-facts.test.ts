import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isEventStream, modelOfJson } from '../../src/inference/features.ts';

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

describe('the model of a JSON body', () => {
  it('is the string under its top-level key, wherever it stands', () => {
    expect(modelOfJson(json({ model: 'gpt-4' }))).toBe('gpt-4');
    expect(modelOfJson(json({ messages: [{ content: 'x' }], n: 1, model: 'a"b\\é' }))).toBe('a"b\\é');
    expect(modelOfJson(Buffer.from(' \n{ "stream" : true , "model" : "m" }'))).toBe('m');
  });

  it('is not one that is nested, inside a text, of another type, empty or cut off', () => {
    expect(modelOfJson(json({ a: { model: 'x' }, b: ['model', { model: 'y' }] }))).toBeNull();
    expect(modelOfJson(json({ content: '{"model":"x"}', model2: 'y' }))).toBeNull();
    expect(modelOfJson(json({ x: 'model', model: 5, y: 'z' }))).toBeNull();
    expect(modelOfJson(json({ model: null, y: 'z' }))).toBeNull();
    expect(modelOfJson(json({ model: '' }))).toBeNull();
    expect(modelOfJson(json([{ model: 'x' }]))).toBeNull();
    expect(modelOfJson(Buffer.from('{"model":"llam'))).toBeNull();
    expect(modelOfJson(Buffer.from('{"content":"cut \\"model\\":\\"x\\" and on'))).toBeNull();
    expect(modelOfJson(Buffer.from('{"model":"a\nb"}'))).toBeNull();
    expect(modelOfJson(Buffer.alloc(0))).toBeNull();
  });

  it('is looked for in the first 256 KiB only', () => {
    expect(modelOfJson(json({ prompt: 'a "b" \\\\'.repeat(20_000), model: 'm' }))).toBe('m');
    expect(modelOfJson(json({ prompt: 'a'.repeat(262_144), model: 'm' }))).toBeNull();
  });

  it('agrees with JSON.parse on any object that has one', () => {
    const other = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 });
    fc.assert(
      fc.property(other, fc.string({ minLength: 1, maxLength: 50 }), other, (before, model, after) => {
        const text = JSON.stringify({ ...before, model, ...after, ...('model' in after ? { model } : {}) });
        expect(modelOfJson(Buffer.from(text))).toBe(model);
      }),
    );
  });
});

describe('an event stream', () => {
  it('is told by its content type', () => {
    expect(isEventStream('text/event-stream')).toBe(true);
    expect(isEventStream('Text/Event-Stream; charset=utf-8')).toBe(true);
    expect(isEventStream('text/event-streaming')).toBe(false);
    expect(isEventStream('application/json')).toBe(false);
    expect(isEventStream(null)).toBe(false);
  });
});
