import { describe, expect, it } from 'vitest';
import { bodyRedaction, cover } from '../support/body-redaction.ts';

const contentType = 'text/event-stream; charset=utf-8';
const redaction = bodyRedaction(['/text=mask']);
const stream = (body: string) => cover(redaction, body, { contentType });

describe('an event stream', () => {
  it('has the data of each event covered, and keeps everything else', () => {
    const { text, names } = stream(
      ': ping\n\nid: 1\nevent: delta\ndata: {"text":"secret"}\n\nretry: 5\ndata:{"text":"hidden","n":1}\r\n\r\ndata: [DONE]\n\n',
    );
    expect(names).toEqual(['/text']);
    expect(text).toMatch(
      /^: ping\n\nid: 1\nevent: delta\ndata: \{"text":"[a-z ]{6}"\}\n\nretry: 5\ndata:\{"text":"[a-z ]{6}","n":1\}\r\n\r\ndata: \[DONE\]\n\n$/,
    );
    expect(text).not.toMatch(/secret|hidden/);
  });

  it('has comments, names and ids of events covered that are more than labels', () => {
    const { text, names } = stream(
      ': user said secret\nevent: my secret\nid: secret, all\nretry: secret\n\ndata: {}\n\n:secret1\n',
    );
    expect(text).toMatch(
      /^: [a-z ]{16}\nevent: [a-z ]{9}\nid: [a-z ]{11}\nretry: [a-z ]{6}\n\ndata: \{\}\n\n:[a-z ]{7}\n$/,
    );
    expect(text).not.toContain('secret');
    expect(names).toEqual(['/comment', '/event', '/id', '/retry']);
  });

  it('keeps what tells events apart', () => {
    const body =
      ': keep-alive\n\n:\n\nevent: response.output_text.delta\nid: 3f0c8a52-6f6c-4d4e-8f0e-0c9a3c1d2b11\nretry: 3000\ndata: {}\n\nid:17\nevent\nid\n\n';
    expect(stream(body)).toMatchObject({ text: body, names: [] });
  });

  it('may divide the data of an event over lines', () => {
    const { text } = stream(
      'data: {"text":\ndata:   "secret",\rdata: "b":[1,\ndata: 2]}\n\ndata: {"text":"x y"}',
    );
    expect(text).toMatch(
      /^data: \{"text":\ndata: {3}"[a-z ]{6}",\rdata: "b":\[1,\ndata: 2\]\}\n\ndata: \{"text":"[a-z ]{3}"\}$/,
    );
  });

  it('keeps its lines where what is dropped spans them', () => {
    const { text } = cover(bodyRedaction(['/a=drop']), 'data: {"a":[1,\ndata: 2,3],\ndata: "b":4}\n\n', {
      contentType,
    });
    expect(text).toBe('data: {"a":[  \ndata:    ],\ndata: "b":4}\n\n');
  });

  it('covers what a stream that broke off left without a blank line', () => {
    expect(stream('data: {"text":"secret"}').text).toMatch(/^data: \{"text":"[a-z ]{6}"\}$/);
  });

  it.each([
    ['data: plain text\n\n', 'not_json'],
    ['data: {"text":"secr\n\n', 'not_json'],
    ['data: 1,\n'.repeat(10_001), 'bad_event_stream'],
    ['data: [DONE] secret\n\n', 'not_json'],
    ['text: {"text":"secret"}\n\n', 'bad_event_stream'],
    ['{"text":"secret"}', 'bad_event_stream'],
    ['data: {"text":"a"}\n\nsecret\n', 'bad_event_stream'],
  ])('%.40j is dropped: %s', (body, reason) => {
    expect(stream(body)).toMatchObject({ kept: null, dropped: reason });
  });

  it('is kept when no event has data', () => {
    expect(stream(':\n\ndata:\n\ndata: \n\ndata:   [DONE]  \n\nevent: end\n\n').dropped).toBeNull();
  });
});
