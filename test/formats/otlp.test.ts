import { PbfWriter } from 'pbf';
import { describe, expect, test, vi } from 'vitest';
import { byProgram, resolveOptions, type StatedOptions } from '../../src/core/options.ts';
import { OTLP_OPTIONS, openOtlp } from '../../src/formats/otlp.ts';
import { hmac, latin1, readImport, traceFile } from './support.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const START_US = Date.UTC(2026, 10, 24, 12) * 1000;

type Value = string | number | boolean | readonly string[];

interface Parts {
  readonly id?: string;
  readonly parent?: string;
  readonly trace?: string;
  readonly startUs?: number;
  readonly tookUs?: number;
  readonly attributes?: Readonly<Record<string, Value>>;
  readonly more?: Readonly<Record<string, unknown>>;
}

const anyValue = (value: Value): object => {
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value !== 'number') return { arrayValue: { values: value.map(anyValue) } };
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
};
const listed = (attributes: Readonly<Record<string, Value>>) =>
  Object.entries(attributes).map(([key, value]) => ({ key, value: anyValue(value) }));
const nano = (us: number) => `${us}499`;

function span({
  id = 'a',
  parent = '',
  trace = TRACE,
  startUs = 0,
  tookUs = 250_000,
  attributes = {},
  more,
}: Parts) {
  return {
    traceId: trace,
    spanId: id,
    parentSpanId: parent,
    startTimeUnixNano: nano(START_US + startUs),
    endTimeUnixNano: nano(START_US + startUs + tookUs),
    attributes: listed(attributes),
    status: {},
    ...more,
  };
}

const document = (...spans: object[]) => ({ resourceSpans: [{ scopeSpans: [{ spans }] }] });
const CHAT = { 'gen_ai.operation.name': 'chat', 'gen_ai.request.model': 'm' };
const said = (text: string) => JSON.stringify([{ role: 'user', parts: [{ type: 'text', content: text }] }]);

/** Spans in protobuf, by the field numbers of OTLP. */
function inProtobuf(spans: readonly ReturnType<typeof span>[]): Buffer {
  const instant = (pbf: PbfWriter, tag: number, ns: string) => {
    pbf.writeTag(tag, 1);
    pbf.writeFixed32(Number(BigInt(ns) & 0xffffffffn));
    pbf.writeFixed32(Number(BigInt(ns) >> 32n));
  };
  const value = (is: Record<string, unknown>, pbf: PbfWriter): void => {
    if ('stringValue' in is) pbf.writeStringField(1, is['stringValue'] as string);
    else if ('boolValue' in is) pbf.writeBooleanField(2, is['boolValue'] as boolean);
    else if ('intValue' in is) pbf.writeVarintField(3, Number(is['intValue']));
    else if ('doubleValue' in is) pbf.writeDoubleField(4, is['doubleValue'] as number);
    else {
      const { values } = is['arrayValue'] as { values: Record<string, unknown>[] };
      const list = (_: null, within: PbfWriter) => {
        for (const each of values) within.writeMessage(1, value, each);
      };
      pbf.writeMessage(5, list, null);
    }
  };
  const writeSpan = (each: ReturnType<typeof span>, pbf: PbfWriter) => {
    pbf.writeBytesField(1, Buffer.from(each.traceId, 'hex'));
    pbf.writeBytesField(2, Buffer.from(each.spanId, 'hex'));
    pbf.writeStringField(3, 'vendor=1');
    if (each.parentSpanId !== '') pbf.writeBytesField(4, Buffer.from(each.parentSpanId, 'hex'));
    instant(pbf, 7, each.startTimeUnixNano);
    instant(pbf, 8, each.endTimeUnixNano);
    for (const attribute of each.attributes)
      pbf.writeMessage(
        9,
        (_, pair) => {
          pair.writeStringField(1, attribute.key);
          pair.writeMessage(2, value, attribute.value as Record<string, unknown>);
        },
        null,
      );
    const { code } = each.status as { code?: number };
    if (code !== undefined) pbf.writeMessage(15, (_, status) => status.writeVarintField(3, code), null);
  };
  const pbf = new PbfWriter();
  pbf.writeMessage(
    1,
    (_, resource) =>
      resource.writeMessage(
        2,
        (__, scope) => {
          for (const each of spans) scope.writeMessage(2, writeSpan, each);
        },
        null,
      ),
    null,
  );
  return Buffer.from(pbf.finish());
}

function withLength(message: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(message.length);
  return Buffer.concat([length, message]);
}

async function readFiles(
  files: readonly (string | Buffer)[],
  flags: StatedOptions<typeof OTLP_OPTIONS> = {},
) {
  const paths = files.map((text) => traceFile(text, 'traces.jsonl'));
  const read = await readImport(
    openOtlp(paths, resolveOptions(OTLP_OPTIONS, byProgram(OTLP_OPTIONS, flags))),
  );
  const bodies = read.exchanges.map(({ request }) =>
    request === null ? null : JSON.parse(Buffer.from(request.body.kept ?? []).toString()),
  );
  return { ...read, bodies };
}
const read = (spans: readonly object[], flags = {}) =>
  readFiles([spans.map((each) => JSON.stringify(document(each))).join('\n')], flags);

describe('spans of model calls', () => {
  test('become exchanges with their times, tokens, model, session and trace', async () => {
    const { exchanges, bodies, source } = await read([
      span({
        startUs: 7,
        attributes: {
          ...CHAT,
          'gen_ai.request.max_tokens': 9,
          'gen_ai.request.temperature': 0.5,
          'gen_ai.request.stop_sequences': ['x'],
          'gen_ai.request.stream': true,
          'gen_ai.response.time_to_first_chunk': 0.04,
          'gen_ai.usage.input_tokens': 11,
          'gen_ai.usage.output_tokens': 5,
          'gen_ai.conversation.id': 'talk',
          'gen_ai.system_instructions': JSON.stringify([{ type: 'text', content: 'Be brief.' }]),
          'gen_ai.input.messages': said('hi'),
          'server.address': 'models.example',
          'server.port': 8000,
          'user.id': 'u1',
        },
      }),
    ]);
    expect(exchanges).toMatchObject([
      {
        arrivalUs: START_US + 7,
        outcome: 'completed',
        status: 200,
        route: 'POST /v1/chat/completions',
        model: 'm',
        streamed: true,
        firstTokenOffsetUs: 40_000,
        lastByteOffsetUs: 250_000,
        promptTokens: 11,
        outputTokens: 5,
        response: null,
        traceId: Buffer.from(TRACE, 'hex'),
        session: hmac('session\0talk', 8),
        client: hmac('client\0u1', 8),
      },
    ]);
    expect(latin1(exchanges[0]?.request?.head ?? null)).toMatch(
      /^POST \/v1\/chat\/completions HTTP\/1\.1\r\nHost: models\.example:8000\r\n/,
    );
    expect(bodies).toEqual([
      {
        model: 'm',
        max_tokens: 9,
        temperature: 0.5,
        stop: ['x'],
        stream: true,
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'hi' },
        ],
      },
    ]);
    expect(source.lacking).toEqual({});
    expect(source.parts.requests).toBe(true);
  });

  test('without a conversation are one session a trace', async () => {
    const other = '1af7651916cd43dd8448eb211c80319c';
    const { exchanges } = await read([
      span({ id: 'a', attributes: CHAT }),
      span({ id: 'b', attributes: CHAT }),
      span({ id: 'c', trace: other, attributes: CHAT }),
    ]);
    const sessions = exchanges.map(({ session }) => Buffer.from(session ?? []).toString('hex'));
    expect(sessions[0]).toBe(sessions[1]);
    expect(sessions[0]).not.toBe(sessions[2]);
  });

  const CALL = { id: 'c1', type: 'function', function: { name: 'rain', arguments: '{"city":"Ulm"}' } };
  const TOOLED = [
    { role: 'user', content: 'Rain?' },
    { role: 'assistant', content: null, tool_calls: [CALL] },
    { role: 'tool', content: 'dry', tool_call_id: 'c1' },
  ];
  const TOOLS = ['rain', 'snow'].map((name) => ({
    type: 'function',
    function: { name, parameters: { type: 'object' } },
  }));
  test.each<[string, Record<string, Value>, object]>([
    [
      'the GenAI conventions',
      {
        ...CHAT,
        'gen_ai.input.messages': JSON.stringify([
          { role: 'user', parts: [{ type: 'text', content: 'Rain?' }] },
          {
            role: 'assistant',
            parts: [{ type: 'tool_call', id: 'c1', name: 'rain', arguments: '{"city":"Ulm"}' }],
          },
          { role: 'tool', parts: [{ type: 'tool_call_response', id: 'c1', response: 'dry' }] },
        ]),
        'gen_ai.tool.definitions': JSON.stringify([{ type: 'function', name: 'rain', parameters: {} }]),
      },
      {
        model: 'm',
        tools: [{ type: 'function', function: { name: 'rain', parameters: {} } }],
        messages: TOOLED,
      },
    ],
    [
      'OpenLLMetry',
      {
        'llm.request.type': 'chat',
        'gen_ai.request.model': 'm',
        'gen_ai.prompt.0.role': 'user',
        'gen_ai.prompt.0.content': 'Rain?',
        'gen_ai.prompt.1.role': 'assistant',
        'gen_ai.prompt.1.tool_calls.0.id': 'c1',
        'gen_ai.prompt.1.tool_calls.0.name': 'rain',
        'gen_ai.prompt.1.tool_calls.0.arguments': '{"city":"Ulm"}',
        'gen_ai.prompt.2.role': 'tool',
        'gen_ai.prompt.2.content': 'dry',
        'gen_ai.prompt.2.tool_call_id': 'c1',
        'llm.request.functions.0.name': 'rain',
        'llm.request.functions.0.parameters': '{"type":"object"}',
        'llm.request.functions.1.name': 'snow',
        'llm.request.functions.1.input_schema': '{"type":"object"}',
      },
      { model: 'm', tools: TOOLS, messages: TOOLED },
    ],
    [
      'OpenInference',
      {
        'openinference.span.kind': 'LLM',
        'llm.model_name': 'm',
        'llm.invocation_parameters': '{"seed":3}',
        'llm.input_messages.0.message.role': 'user',
        'llm.input_messages.0.message.content': 'Rain?',
        'llm.input_messages.1.message.role': 'assistant',
        'llm.input_messages.1.message.tool_calls.0.tool_call.id': 'c1',
        'llm.input_messages.1.message.tool_calls.0.tool_call.function.name': 'rain',
        'llm.input_messages.1.message.tool_calls.0.tool_call.function.arguments': '{"city":"Ulm"}',
        'llm.input_messages.2.message.role': 'tool',
        'llm.input_messages.2.message.content': 'dry',
        'llm.input_messages.2.message.tool_call_id': 'c1',
        'input.value': '{"messages":[[{"lc":1}]]}',
        'llm.tools.0.tool.json_schema': JSON.stringify(TOOLS[0]),
        'llm.tools.1.tool.json_schema': '{"name":"snow","input_schema":{"type":"object"}}',
      },
      { model: 'm', seed: 3, tools: TOOLS, messages: TOOLED },
    ],
    [
      'a whole request of OpenInference',
      {
        'openinference.span.kind': 'LLM',
        'input.value': '{"model":"m","messages":[{"role":"user","content":"hi"}],"user":"u"}',
      },
      { model: 'm', messages: [{ role: 'user', content: 'hi' }], user: 'u' },
    ],
    [
      'a request of Anthropic, whose system prompt is no message,',
      {
        'openinference.span.kind': 'LLM',
        'llm.model_name': 'm',
        'llm.invocation_parameters': '{"max_tokens":5,"system":"Be brief."}',
        'input.value': '{"model":"m","system":"Be brief.","messages":[{"role":"user","content":"hi"}]}',
        'llm.input_messages.0.message.role': 'system',
        'llm.input_messages.0.message.content': 'Be brief.',
        'llm.input_messages.1.message.role': 'user',
        'llm.input_messages.1.message.content': 'hi',
      },
      {
        model: 'm',
        max_tokens: 5,
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'hi' },
        ],
      },
    ],
    [
      'a prompt that is a JSON list',
      {
        ...CHAT,
        'gen_ai.prompt.0.content': '[1, 2, 3]',
        'gen_ai.prompt.1.content': '[{"type":"text","text":"x"}]',
      },
      {
        model: 'm',
        messages: [
          { role: 'user', content: '[1, 2, 3]' },
          { role: 'user', content: [{ type: 'text', text: 'x' }] },
        ],
      },
    ],
    [
      'a completion',
      {
        'gen_ai.operation.name': 'text_completion',
        'gen_ai.request.model': 'm',
        'gen_ai.prompt.0.content': 'Once',
      },
      { model: 'm', prompt: 'Once' },
    ],
    [
      'embeddings',
      {
        'openinference.span.kind': 'EMBEDDING',
        'embedding.model_name': 'm',
        'embedding.embeddings.0.embedding.text': 'a',
        'embedding.embeddings.1.embedding.text': 'b',
      },
      { model: 'm', input: ['a', 'b'] },
    ],
    [
      'an image',
      {
        ...CHAT,
        'gen_ai.input.messages': JSON.stringify([
          {
            role: 'user',
            parts: [
              { type: 'uri', modality: 'image', uri: 'http://i/1' },
              { type: 'text', content: 'x' },
            ],
          },
        ]),
      },
      {
        model: 'm',
        messages: [
          {
            role: 'user',
            content: [
              { type: 'image_url', image_url: { url: 'http://i/1' } },
              { type: 'text', text: 'x' },
            ],
          },
        ],
      },
    ],
  ])('have the body that %s tells', async (_, attributes, body) => {
    const { bodies, exchanges } = await read([span({ attributes })]);
    expect(bodies).toEqual([body]);
    expect(exchanges[0]).toMatchObject({ model: 'm' });
  });

  test('lose a tool that was cut, and say so', async () => {
    const { bodies, source } = await read([
      span({
        attributes: {
          ...CHAT,
          'gen_ai.prompt.0.content': 'hi',
          'llm.tools.0.tool.json_schema': '{"type":"function","func',
        },
      }),
    ]);
    expect(bodies).toEqual([{ model: 'm', messages: [{ role: 'user', content: 'hi' }] }]);
    expect(source.lacking).toEqual({ 'a tool without a name: left out': 1 });
  });

  test.each<[Record<string, Value>, object, number | null, string]>([
    [{ 'error.type': '503' }, {}, 503, 'completed'],
    [{ 'error.type': 'openai.RateLimitError' }, {}, 429, 'completed'],
    [
      {},
      { events: [{ name: 'exception', attributes: listed({ 'exception.type': 'openai.NotFoundError' }) }] },
      404,
      'completed',
    ],
    [{ 'error.type': 'APIConnectionError' }, {}, null, 'upstream_failed'],
    [{ 'http.response.status_code': 200, 'error.type': 'JSONDecodeError' }, {}, 200, 'upstream_failed'],
  ])('that failed by %j have a status only where it is told', async (attributes, more, status, outcome) => {
    const { exchanges, source } = await read([
      span({ attributes: { ...CHAT, ...attributes }, more: { status: { code: 2 }, ...more } }),
    ]);
    expect(exchanges).toMatchObject([{ status, outcome }]);
    expect(Object.keys(source.lacking).some((what) => what.includes('without a status'))).toBe(
      status === null,
    );
  });

  describe.each(['as they are', 'from the last to the first'])('in a file with spans %s', (order) => {
    const told = { ...CHAT, 'gen_ai.input.messages': said('told') };
    const embedding = { 'gen_ai.operation.name': 'embeddings', 'gen_ai.request.model': 'e' };
    const kept = async (...spans: Parts[]) => {
      const made = spans.map((parts, startUs) => span({ startUs, ...parts }));
      const { exchanges, source } = await read(order === 'as they are' ? made : made.toReversed());
      return {
        kept: exchanges.map(({ arrivalUs }) => spans[arrivalUs - START_US]?.id).sort(),
        left: Object.fromEntries(Object.entries(source.lacking).filter(([what]) => /left out$/.test(what))),
      };
    };
    const OF_SAME = 'a span of the same call as another: left out';
    const AROUND = 'a span around several calls: left out';

    test('count once where a framework, a client and a server have a span of the call', async () => {
      expect(
        await kept(
          // Messages are at the client alone.
          { id: 'framework', parent: 'agent', attributes: CHAT },
          { id: 'client', parent: 'framework', attributes: told },
          { id: 'http', parent: 'client' },
          { id: 'server', parent: 'http', attributes: { 'gen_ai.response.model': 'm' } },
          // The inner one is nearer to what was sent.
          { id: 'outer', parent: 'agent', attributes: told },
          { id: 'inner', parent: 'outer', attributes: told },
          // Calls of one agent are several.
          { id: 'agent', parent: 'root', attributes: { 'gen_ai.operation.name': 'invoke_agent' } },
          { id: 'root', attributes: told },
        ),
      ).toEqual({
        kept: ['client', 'inner', 'root'],
        left: { [OF_SAME]: 3, 'a span of an agent, a tool or a chain: left out': 1 },
      });
    });

    test('are several where one span has several below it', async () => {
      expect(
        await kept(
          { id: 'framework', attributes: told },
          { id: 'loop', parent: 'framework', attributes: told },
          { id: 'first', parent: 'loop', attributes: CHAT },
          { id: 'fallback', parent: 'loop', attributes: { ...told, 'gen_ai.request.model': 'm2' } },
          { id: 'http', parent: 'loop' },
          { id: 'third', parent: 'http', attributes: told },
        ),
      ).toEqual({ kept: ['fallback', 'first', 'third'], left: { [OF_SAME]: 1, [AROUND]: 1 } });
    });

    test('are several where they differ in operation or model', async () => {
      expect(
        await kept(
          { id: 'chat', attributes: CHAT },
          { id: 'cache', parent: 'chat', attributes: embedding },
          { id: 'cache2', parent: 'chat', attributes: embedding },
          { id: 'other', parent: 'chat', attributes: { ...told, 'gen_ai.request.model': 'm2' } },
        ),
      ).toEqual({ kept: ['cache', 'cache2', 'chat', 'other'], left: {} });
    });

    test('count once where a span came twice', async () => {
      const twice = { id: 'a', startUs: 0, attributes: told };
      expect(await kept(twice, twice)).toEqual({
        kept: ['a'],
        left: { 'a span that came twice: left out': 1 },
      });
    });
  });

  test('are the calls below a span with very many below it', async () => {
    const calls = Array.from({ length: 12_000 }, (_, at) =>
      span({ id: `c${at}`, parent: 'outer', attributes: CHAT }),
    );
    const { exchanges } = await readFiles([
      JSON.stringify(document(span({ id: 'outer', attributes: CHAT }), ...calls)),
    ]);
    expect(exchanges).toHaveLength(12_000);
  });

  test('without messages are arrivals, or get prompts of their tokens', async () => {
    const bare = [
      span({ attributes: { ...CHAT, 'gen_ai.usage.input_tokens': 6, 'gen_ai.usage.output_tokens': 2 } }),
      span({
        id: 'b',
        attributes: { 'gen_ai.operation.name': 'embeddings', 'gen_ai.usage.input_tokens': 3 },
      }),
    ];
    const alone = await read(bare);
    expect(alone.bodies).toEqual([null, null]);
    expect(alone.exchanges).toMatchObject([
      { promptTokens: 6, outputTokens: 2, protocol: null, status: 200 },
      {},
    ]);
    expect(alone.source.parts.requests).toBe(false);
    expect(alone.source.parts.missing).toContain('requests');
    const { bodies, source } = await read(bare, { buildPrompts: 'other' });
    expect(bodies).toEqual([
      { model: 'm', messages: [{ role: 'user', content: expect.any(String) }], max_tokens: 2 },
      { model: 'other', input: expect.any(String) },
    ]);
    expect(bodies[0].messages[0].content.split(' ')).toHaveLength(6);
    expect(source.parts.requests).toBe(true);
  });

  test('are read from documents on one line or several, from several files, beside other signals', async () => {
    const one = JSON.stringify(document(span({ attributes: CHAT })), null, 2);
    const lines = [{ resourceLogs: [] }, document(span({ id: 'b', attributes: CHAT }))].map((each) =>
      JSON.stringify(each),
    );
    expect((await readFiles([one, lines.join(' \t\n')])).exchanges).toHaveLength(2);
  });

  test('are the same in protobuf: messages with lengths, or one request', async () => {
    const spans = [
      span({
        id: 'aa',
        attributes: {
          ...CHAT,
          'gen_ai.usage.input_tokens': 300,
          'gen_ai.request.temperature': 0.5,
          'gen_ai.request.stream': true,
          'gen_ai.request.stop_sequences': ['x', 'y'],
          'gen_ai.input.messages': said('grüße '.repeat(100_000)),
        },
      }),
      span({
        id: 'bb',
        startUs: 9,
        attributes: { ...CHAT, 'error.type': '429' },
        more: { status: { code: 2 } },
      }),
      span({ id: 'cc', parent: 'bb', startUs: 8 }),
    ];
    const [one, two, three] = spans.map((each) => inProtobuf([each])).map(withLength);
    const { exchanges, bodies } = await read(spans);
    expect(exchanges).toHaveLength(2);
    for (const files of [[Buffer.concat([one!, two!, three!])], [one!, two!, three!], [inProtobuf(spans)]]) {
      const found = await readFiles(files);
      expect(found.exchanges).toEqual(exchanges);
      expect(found.bodies).toEqual(bodies);
    }
  });

  test('a long message was copied once for each chunk of the file', async () => {
    const whole = withLength(inProtobuf([span({ attributes: { ...CHAT, text: 'x'.repeat(8_000_000) } })]));
    const joined = vi.spyOn(Buffer, 'concat');
    expect((await readFiles([whole])).exchanges).toHaveLength(1);
    const bytes = joined.mock.results.reduce((sum, { value }) => sum + (value as Buffer).length, 0);
    joined.mockRestore();
    expect(bytes).toBeLessThan(5 * whole.length);
  });

  test('are refused where protobuf is cut, at any byte, or is of another signal', async () => {
    const whole = withLength(inProtobuf([span({ id: 'aa', attributes: CHAT })]));
    expect((await readFiles([whole])).exchanges).toHaveLength(1);
    for (let end = 1; end < whole.length; end += 7)
      await expect(readFiles([whole.subarray(0, end)])).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    for (let end = 0; end < whole.length - 4; end += 7)
      await expect(readFiles([withLength(whole.subarray(4, 4 + end))])).rejects.toMatchObject({
        code: 'INPUT_INVALID',
      });
    const log = new PbfWriter();
    const record = (_: null, pbf: PbfWriter) => pbf.writeFixed64Field(1, 5);
    const scope = (_: null, pbf: PbfWriter) => pbf.writeMessage(2, record, null);
    log.writeMessage(1, (_, pbf) => pbf.writeMessage(2, scope, null), null);
    await expect(readFiles([withLength(Buffer.from(log.finish()))])).rejects.toMatchObject({
      message: expect.stringMatching(/message 1 is no OTLP trace/),
    });
  });

  test.each([
    ['\0\0\u0001\u0002binary', /ends within message 1/, /again/],
    ['\0\0\0\u0002binary', /message 1 is no OTLP trace/, /compression/],
    ['[]', /line 1.*not OTLP/, /file exporter/],
    ['{"data":[]}', /no resourceSpans/, /file exporter/],
    [`${JSON.stringify(document())}\n{"resourceSpans":[`, /line 2.*not JSON/s, /./],
    [
      JSON.stringify(document(span({ attributes: CHAT, more: { startTimeUnixNano: 'soon' } }))),
      /line 1.*nanoseconds/s,
      /./,
    ],
    [JSON.stringify(document()), /holds no exchange/, /./],
  ])('of %j are refused with the place and the way out', async (text, message, hint) => {
    await expect(readFiles([text])).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: expect.stringMatching(message),
      hint: expect.stringMatching(hint),
    });
  });

  test('whose first token is not within the call have none', async () => {
    const { exchanges, source } = await read([
      span({ attributes: { ...CHAT, 'gen_ai.response.time_to_first_chunk': 0.5 } }),
      span({ id: 'b', attributes: CHAT, more: { endTimeUnixNano: '0' } }),
      span({
        id: 'c',
        attributes: CHAT,
        more: { events: [{ name: 'First Token Stream Event', timeUnixNano: nano(START_US + 9) }] },
      }),
    ]);
    expect(
      exchanges.map(({ firstTokenOffsetUs, lastByteOffsetUs }) => [firstTokenOffsetUs, lastByteOffsetUs]),
    ).toEqual([
      [null, 250_000],
      [null, null],
      [9, 250_000],
    ]);
    expect(source.lacking).toMatchObject({
      'a first token that is not within its call: unknown': 1,
      'no end after the start: no latency': 1,
    });
  });
});
