import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  STRUCTURAL_LABELS,
  STRUCTURAL_LISTS,
  STRUCTURAL_NUMBERS,
  STRUCTURAL_WORDS,
} from '../../src/redaction/structural-fields.ts';
import { bodyRedaction, cover } from '../support/body-redaction.ts';
import { repeated } from '../support/long-form.ts';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';

const SECRET = 'Zq7secret7secret';
const redaction = bodyRedaction([], ['llm']);
const words = expect.stringMatching(/^[a-z ]+$/);

function covered(document: unknown): unknown {
  const body = JSON.stringify(document);
  const { text, dropped } = cover(redaction, body);
  expect(dropped).toBeNull();
  expect(text).not.toContain('7secret');
  expect(Buffer.byteLength(text)).toBe(Buffer.byteLength(body));
  return JSON.parse(text);
}

/** A document with this value at a pointer. */
function documentWith(pointer: string, value: unknown): string {
  let document = value;
  for (const step of pointer.slice(1).split('/').reverse())
    document = step === '*' ? [document] : { [step]: document };
  return JSON.stringify(document);
}

describe('preset llm', () => {
  it.each([
    [
      'servers of tools',
      { tools: [{ type: 'mcp', server_url: SECRET, headers: { a: SECRET }, authorization: SECRET }] },
    ],
    [
      'servers of MCP',
      { mcp_servers: [{ type: 'url', url: SECRET, name: SECRET, authorization_token: SECRET }] },
    ],
    [
      'domain secrets',
      { tools: [{ container: { network_policy: { domain_secrets: [{ name: SECRET, value: SECRET }] } } }] },
    ],
    [
      'keys of data sources',
      {
        data_sources: [
          { type: 'azure_search', parameters: { authentication: { type: 'api_key', key: SECRET } } },
        ],
      },
    ],
    [
      'the context of a message',
      { choices: [{ message: { context: { citations: [{ content: SECRET }], intent: SECRET } } }] },
    ],
    [
      "Triton's generate",
      { text_input: SECRET, parameters: { stream: false, bad_words: [SECRET], system: SECRET } },
    ],
    ['examples to classify', { context: { who: SECRET }, examples: [{ city: [SECRET], age: 41 }] }],
    [
      'guided decoding',
      {
        guided_choice: [SECRET],
        guided_regex: SECRET,
        guided_grammar: SECRET,
        guided_json: { enum: [SECRET] },
      },
    ],
    ['structured outputs', { structured_outputs: { choice: [SECRET], regex: SECRET, grammar: SECRET } }],
    [
      'arguments of a template',
      { chat_template_kwargs: { name: SECRET, thinking: true }, chat_template: SECRET },
    ],
    [
      'words to avoid or to hear',
      { bad_words: [SECRET], hotwords: SECRET, stop: [SECRET], logit_bias: { 7: -100 } },
    ],
    [
      'a batch',
      {
        requests: [
          {
            custom_id: SECRET,
            params: { model: 'm', system: SECRET, messages: [{ role: 'user', content: SECRET }] },
          },
        ],
      },
    ],
    [
      'a thread',
      { thread: { messages: [{ role: 'user', content: SECRET }] }, additional_instructions: SECRET },
    ],
    ['outputs of tools', { tool_outputs: [{ tool_call_id: 'call_1', output: SECRET }] }],
    [
      'a history',
      {
        message: SECRET,
        chat_history: [{ role: 'CHATBOT', message: SECRET }],
        preamble: SECRET,
        documents: [{ id: SECRET }],
      },
    ],
    [
      'contents and parts',
      {
        contents: [{ role: 'model', parts: [{ text: SECRET }] }],
        system_instruction: { parts: { text: SECRET } },
      },
    ],
    ['a label that is none', { model: `${SECRET} ${SECRET}`, id: `${SECRET}@h` }],
    ['words out of place', { messages: [{ role: SECRET, type: SECRET, content: SECRET }], type: [SECRET] }],
    ['what nobody has heard of', { [`x`]: { y: [[SECRET, { z: SECRET }]] } }],
    ['a text alone', SECRET],
    ['texts alone', [SECRET, [SECRET]]],
  ])('leaves nothing of %s', (_, document) => {
    covered(document);
  });

  it('leaves of any document nothing but its names and what is on the list', () => {
    const text = fc.string({ unit: 'binary', minLength: 12, maxLength: 40 }).map((tail) => `Zq!${tail}`);
    const number = fc.integer({ min: 10_000_000, max: 99_999_999 });
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof({ depthSize: 'small' }, text, number, fc.boolean(), tie('list'), tie('object')),
      list: fc.array(tie('value'), { maxLength: 4 }),
      object: fc.dictionary(
        fc.constantFrom('a', 'model', 'messages', 'type', 'role', 'shape', 'b~/', '-', '*'),
        tie('value'),
      ),
    }));
    const shapeOf = (part: unknown): unknown => {
      if (typeof part !== 'object' || part === null) return typeof part;
      if (Array.isArray(part)) return part.map(shapeOf);
      return Object.entries(part).map(([name, inner]) => [name, shapeOf(inner)]);
    };
    fc.assert(
      fc.property(value, (document) => {
        const body = JSON.stringify(document);
        const { text: stored, names } = cover(redaction, body);
        expect(Buffer.byteLength(stored)).toBe(Buffer.byteLength(body));
        expect(shapeOf(JSON.parse(stored))).toEqual(shapeOf(JSON.parse(body)));
        expect(stored).not.toContain('Zq!');
        if (stored !== body) expect(names.length).toBeGreaterThan(0);
      }),
      { numRuns: repeated(50, 300) },
    );
  });

  it('keeps what makes a request one', () => {
    const call = { id: 'call_1', type: 'function', function: { name: 'f', arguments: `{"a":"${SECRET}"}` } };
    const parameters = {
      type: 'object',
      properties: { city: { type: 'string', description: SECRET } },
      required: ['city'],
    };
    const request = {
      model: 'org/model-1',
      max_tokens: 2048,
      temperature: 0.25,
      stream: true,
      tool_choice: 'auto',
      response_format: { type: 'json_object' },
      tools: [{ type: 'function', function: { name: 'f', parameters, strict: true } }],
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: SECRET },
            { type: 'image_url', image_url: { url: SECRET, detail: 'low' } },
          ],
        },
        { role: 'assistant', tool_calls: [call] },
        { role: 'tool', tool_call_id: 'call_1', content: SECRET },
      ],
    };
    const stored = covered(request) as typeof request;
    const masked = structuredClone(request) as Record<string, unknown>;
    expect(JSON.parse(stored.messages[1]?.tool_calls?.[0]?.function.arguments ?? '')).toEqual({
      text: words,
    });
    expect(stored).toEqual({
      ...masked,
      tools: [
        {
          type: 'function',
          function: {
            name: 'f',
            strict: true,
            parameters: { ...parameters, properties: { city: { type: 'string', description: words } } },
          },
        },
      ],
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: words },
            { type: 'image_url', image_url: { url: words, detail: 'low' } },
          ],
        },
        {
          role: 'assistant',
          tool_calls: [{ ...call, function: { name: 'f', arguments: expect.any(String) } }],
        },
        { role: 'tool', tool_call_id: 'call_1', content: words },
      ],
    });
  });

  it('drops what a mask would make invalid or end an answer with, and hashes who asked', () => {
    expect(covered({ stop: [SECRET], guided_grammar: SECRET, chat_template: SECRET })).toEqual({
      stop: null,
      guided_grammar: null,
      chat_template: null,
    });
    const [one, other] = [{ user: SECRET }, { user: SECRET, n: 2 }].map(
      (body) => covered(body) as { user: string },
    );
    expect(one?.user).toBe(other?.user);
  });

  it('names each masked value by its own pointer, so that a comparison still reads the rest', () => {
    const { names } = cover(
      redaction,
      `{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"${SECRET}"}}]}`,
    );
    expect(names).toEqual(['/choices/*/message/content']);
    expect(cover(redaction, '{"usage":{"prompt_tokens":7},"model":"m"}').names).toEqual([]);
  });

  it('masks numbers that are no settings, and lists of numbers', () => {
    const { text } = cover(
      redaction,
      '{"prompt":[15164,8948],"age":45678,"seed":7,"shape":[2,345],"n":[15164]}',
    );
    expect(text).toMatch(
      /^\{"prompt":\[100\d\d,100\d\],"age":100\d\d,"seed":7,"shape":\[2,345\],"n":\[100\d\d\]\}$/,
    );
  });

  it('masks fields of forms but words, numbers and labels of the list', () => {
    const form = `model=whisper-1&language=en&temperature=0.5&prompt=${SECRET}&hotwords=${SECRET}&type=${SECRET}`;
    const about = { contentType: 'application/x-www-form-urlencoded' };
    const { text } = cover(redaction, form, about);
    expect(text).toMatch(
      /^model=whisper-1&language=en&temperature=0\.5&prompt=[a-z+]{16}&hotwords=[a-z+]{16}&type=[a-z+]{16}$/,
    );
    expect(cover(redaction, `model=m;${SECRET}&seed=1;x=${SECRET}`, about).text).not.toContain('secret');
    const parts = (entries: readonly (readonly [string, string])[]) =>
      `${entries.map(([head, value]) => `--b\r\nContent-Disposition: form-data; ${head}\r\n\r\n${value}\r\n`).join('')}--b--\r\n`;
    const sent = parts([
      ['name="model"', 'whisper-1'],
      ['name="timestamp_granularities[]"', 'word'],
      ['name="prompt"', SECRET],
      ['name="file"; filename="secret name.wav"', SECRET],
    ]);
    const multipart = cover(redaction, sent, { contentType: 'multipart/form-data; boundary=b' });
    expect(multipart.text).not.toContain('secret');
    expect(multipart.text).toContain('\r\n\r\nwhisper-1\r\n');
    expect(multipart.text).toContain('\r\n\r\nword\r\n');
    expect(multipart.text).toMatch(/filename="[a-z ]{11}\.wav"/);
  });

  const part = (head: string, value = 'x') =>
    `--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n${head}\r\n\r\n${value}\r\n--b--\r\n`;
  const multipart = { contentType: 'multipart/form-data; boundary=b' };

  it('leaves no word of the heads of parts that is not on the list', () => {
    const secret = 'Zq7secret';
    const head = fc.constantFrom(
      `Content-Type: audio/${secret}`,
      `Content-Type: ${secret}/wav`,
      `content-type: audio/wav; codecs=${secret}`,
      `Content-Type: audio/wav;format="${secret}"; rate=16000`,
      `Content-Type: text/plain; charset=${secret}`,
      `Content-Type: text/plain; charset="the ${secret} words"`,
      `Content-Type: audio/l16; version=4111.1111.1111.1111`,
      `Content-Type: multipart/mixed; boundary=${secret}`,
      `Content-Type: audio/wav;; rate=${secret};; channels=1;`,
    );
    fc.assert(
      fc.property(head, fc.boolean(), (line, encoded) => {
        const sent = part(encoded ? `Content-Transfer-Encoding: binary\r\n${line}` : line);
        const { text, kept } = cover(redaction, sent, multipart);
        expect(text).not.toContain('7secret');
        expect(text).not.toContain('1111');
        expect(kept).toHaveLength(sent.length);
        // Still a form that servers can read, and its masked head is masked as it is.
        expect(cover(redaction, text, multipart).dropped).toBeNull();
      }),
    );
    expect(cover(redaction, part('Content-Length: 4111111111111111'), multipart)).toMatchObject({
      kept: null,
      dropped: 'bad_multipart',
    });
    const named = part('Content-Type: audio/wav').replace('a.wav', 'ms.smith');
    expect(cover(redaction, named, multipart).text).toMatch(/filename="[a-z ]{8}"/);
  });

  it.each([
    'Content-Type: audio/wav',
    'Content-Type: audio/ogg; codecs=opus',
    'Content-Type: audio/l16;rate=16000;channels=1;endianness=little-endian',
    'Content-Type: TEXT/Plain; charset="UTF-8"',
    'Content-Type: image/svg+xml\r\nContent-Transfer-Encoding: binary\r\nContent-Length: 1',
    'Content-Type: application/octet-stream',
  ])('keeps the head of a part that servers need: %s', (head) => {
    expect(cover(redaction, part(head), multipart).text).toContain(`\r\n${head}\r\n\r\n`);
  });

  it("masks the data of events and of Triton's binary tensors", () => {
    const events = `event: message_start\ndata: {"type":"message_start","x":"${SECRET}"}\n\n: ${SECRET} ${SECRET}\n\ndata: [DONE]\n\n`;
    const { text } = cover(redaction, events, { contentType: 'text/event-stream' });
    expect(text).toMatch(
      /^event: message_start\ndata: \{"type":"message_start","x":"[a-z ]+"\}\n\n: [a-z ]+\n\ndata: \[DONE\]\n\n$/,
    );
    const json =
      '{"inputs":[{"name":"t","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":20}}]}';
    const body = Buffer.concat([Buffer.from(json), Buffer.from([16, 0, 0, 0]), Buffer.from(SECRET)]);
    const tensors = cover(redaction, body, { inferenceHeaderLength: json.length });
    expect(tensors.text.startsWith(json)).toBe(true);
    expect(tensors.text).not.toContain('secret');
    expect(tensors.names).toEqual(['/inputs/*/data']);
  });

  it('gains nothing readable by other presets, and obeys rules of the user', () => {
    const body = `{"audio":{"voice":"${SECRET}"},"messages":[{"content":[{"status":"${SECRET}"}]}],"model":"m"}`;
    expect(cover(bodyRedaction([], ['chat', 'llm']), body).text).toBe(cover(redaction, body).text);
    expect(cover(bodyRedaction(['/model=drop'], ['llm']), '{"model":"m-12"}').text).toBe('{"model":null  }');
  });

  it('leaves a model in its row only where it is a label', () => {
    expect(redaction.shownModel('org/model-1')).toBe('org/model-1');
    expect(redaction.shownModel('who is Ms Smith')).toBeNull();
    expect(bodyRedaction(['/model=mask']).shownModel('any text')).toBe('any text');
  });

  it('takes no time to speak of for a body of the largest size', () => {
    const pieces = ['"a",', '1,', '{"type":"x"},', '{"n":1},', '[[["a"]]],', '"text",'];
    for (const [at, piece] of pieces.entries()) {
      // At a quarter too, work that grows with the square of the size would take many minutes.
      const bytes = at === 0 ? 4_000_000 : repeated(1_000_000, 4_000_000);
      const body = `[${piece.repeat(Math.floor(bytes / piece.length)).slice(0, -1)}]`;
      expect(cover(redaction, body).dropped).toBeNull();
    }
  });
});

describe('the list of what the preset llm leaves readable', () => {
  it('is that of the guide', async () => {
    const guide = readFileSync(join(repositoryRoot, 'docs', 'guides', 'privacy.md'), 'utf8');
    const listed = /<!-- readable fields: begin -->\n([\s\S]*)<!-- readable fields: end -->/.exec(guide)?.[1];
    const { stdout } = await runProcess(process.execPath, [
      join(repositoryRoot, 'scripts', 'readable-fields.mjs'),
    ]);
    expect(listed, 'run: npm run --silent document-readable').toBe(stdout);
  });

  it('is what stays: each word, each number and each label', () => {
    for (const [name, texts] of Object.entries(STRUCTURAL_WORDS)) {
      for (const text of texts) {
        const body = JSON.stringify({ x: [{ [name]: text }, { [name]: [text] }] });
        expect(cover(redaction, body).text).toBe(body);
      }
      expect(cover(redaction, JSON.stringify({ [name]: `${SECRET}!` })).text).not.toContain('secret');
    }
    for (const name of STRUCTURAL_NUMBERS) {
      const body = JSON.stringify({ x: { [name]: 12_345_678 } });
      expect(cover(redaction, body).text).toBe(body);
      const list = JSON.stringify({ x: { [name]: [12_345_678] } });
      expect(cover(redaction, list).text).not.toBe(list);
    }
    for (const name of STRUCTURAL_LISTS) {
      const body = JSON.stringify({ x: { [name]: [12_345_678] } });
      expect(cover(redaction, body).text).toBe(body);
    }
    for (const pointer of STRUCTURAL_LABELS) {
      const body = documentWith(pointer, 'Zq_1.a:b/c-d');
      expect(cover(redaction, body).text, pointer).toBe(body);
      expect(cover(redaction, documentWith(pointer, `${SECRET} x`)).text, pointer).not.toContain('secret');
    }
  });
});
