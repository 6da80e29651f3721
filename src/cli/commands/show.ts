import { Command } from 'commander';
import { columnsOf, msText, NONE, tableLines } from '../../analysis/render/table.ts';
import { SHOW_OPTIONS, show } from '../../app/show.ts';
import { Problems } from '../../core/errors.ts';
import { isOnCommandLine, readOptions, toggle } from '../../core/options.ts';
import { linesOf, shellWord } from '../../core/text.ts';
import { countOf, formatBytes, formatMs } from '../../core/units.ts';
import type { ShownDocument, ShownMessage, ShownRequest } from '../../documents/shown.ts';
import { addOptions, askedOf } from '../options.ts';
import { calledAs } from '../output.ts';
import { terminal } from '../terminal.ts';

const OPTIONS = { ...SHOW_OPTIONS, json: toggle('--json', 'print one JSON document') };
/** The options that choose requests if no id is given. */
const CHOOSING = ['failed', 'slowest', 'route', 'model', 'status', 'limit'] as const;

/** `reprise show CAPTURE ID`, `reprise show RUN --slowest 20`: single requests. */
export function showCommand(): Command {
  return addOptions(new Command('show'), OPTIONS)
    .description(
      'Show exchanges of a capture, or requests of a run: route, answer, times. Payloads only with --payload.',
    )
    .argument('<capture>', 'a capture or a run')
    .argument('[id...]', 'SEGMENT:ID of a capture, or the position in the plan of a run')
    .action((directory: string, ids: string[], _: object, command: Command) => {
      const asked = askedOf(command, OPTIONS);
      const problems = new Problems();
      const options = readOptions(OPTIONS, asked, problems);
      for (const key of CHOOSING) {
        if (ids.length > 0 && isOnCommandLine(asked, key))
          problems.add(`--${key} has no effect with an id`, 'Leave out the ids to list requests.');
      }
      if (options.full && !options.payload)
        problems.add('--full has no effect without --payload', 'Add --payload to print bodies.');
      problems.throwIfAny();
      const document = show(directory, ids, options);
      if (options.json) terminal.json(document);
      else if (ids.length > 0 || options.payload) {
        terminal.print(...document.requests.flatMap((each) => detailLines(each, options.full)));
      } else terminal.print(...listLines(document, directory));
    });
}

/** `2026-11-24T15:00:00.000000Z` → `11-24 15:00:00.000`. */
const TIME = { from: 5, to: 23 } as const;

function listLines({ of, matching, requests }: ShownDocument, directory: string): string[] {
  const [first] = requests;
  const isRun = of === 'run';
  if (first === undefined)
    return [`No ${isRun ? 'request of this run' : 'exchange of this capture'} matches.`];
  const columns = columnsOf(isRun ? ['send', 'planned (UTC)'] : ['exchange', 'arrival (UTC)'], [
    'status',
    'latency',
    ...(isRun ? ['recorded'] : []),
  ]);
  const isTraced = requests.some(({ trace }) => trace != null);
  const rows = requests.map((each) => [
    idText(each),
    timeText(each.at),
    resultText(each),
    msText(each.ms.lastByte),
    ...(isRun ? [msText(each.recorded?.ms)] : []),
    ...(isTraced ? [each.trace ?? NONE] : []),
    each.route ?? NONE,
  ]);
  const listed = requests.length < matching ? ` of ${matching}` : '';
  return [
    ...tableLines([...columns, ...columnsOf([...(isTraced ? ['trace'] : []), 'route'], [])], rows),
    `${countOf(requests.length, 'request')}${listed}. One in full: ${calledAs()} show ${shellWord(directory)} ${idText(first)}`,
  ];
}

function idText({ send, exchange }: ShownRequest): string {
  return send === null ? exchange : String(send);
}

function timeText(at: string): string {
  return at.slice(TIME.from, TIME.to).replace('T', ' ');
}

/** The status of a complete answer, else the result. Nothing is known of how some imported exchanges ended. */
function resultText({ status, result, grpc }: ShownRequest): string {
  if (result !== null && result !== 'completed') return result;
  const name = grpc?.status == null || grpc.status === 'OK' ? '' : ` ${grpc.status}`;
  return `${status ?? NONE}${name}`;
}

function detailLines(request: ShownRequest, isFull: boolean): string[] {
  const { send, exchange, ms, tokens, recorded, check, payload } = request;
  const size = (bytes: number | null) => (bytes === null ? NONE : formatBytes(bytes));
  const rows: (readonly [string, string] | null)[] = [
    ['route', request.route ?? NONE],
    ['model', request.model ?? NONE],
    [send === null ? 'arrival' : 'planned', request.at],
    [
      'result',
      `${request.result ?? 'not known'}, status ${request.status ?? NONE}${request.streamed ? ', a stream' : ''}`,
    ],
    request.grpc === undefined ? null : ['gRPC', callText(request.grpc)],
    ['sizes', `request ${size(request.requestBytes)}, response ${size(request.responseBytes)}`],
    send === null ? null : ['left', ms.sent === null ? 'never' : `${formatMs(Math.max(0, ms.sent))} late`],
    ['first byte', msText(ms.firstByte)],
    ms.firstToken === null ? null : ['first token', msText(ms.firstToken)],
    ['last byte', msText(ms.lastByte)],
    tokens.output === null ? null : ['tokens', `${tokens.prompt ?? NONE} prompt, ${tokens.output} output`],
    recorded && ['recorded', `status ${recorded.status}, ${msText(recorded.ms)}, ${size(recorded.bytes)}`],
    check === null ? null : ['check', check],
    request.trace == null ? null : ['trace', request.trace],
    ...linkRows(request),
  ];
  const known = rows.filter((row) => row !== null);
  return linesOf(
    send === null ? `Exchange ${exchange}` : `Send ${send}: exchange ${exchange}`,
    tableLines(columnsOf(['', ''], []), known)
      .slice(1)
      .map((line) => `  ${line}`),
    payload && messageLines('REQUEST as recorded', payload.request, isFull),
    payload && messageLines('ANSWER as recorded', payload.response, isFull),
    '',
  );
}

/** Links that are listed as text. `--json` has all. */
const LINKS_LISTED = 20;

/** Where the values of a request come from that the server issued. */
function linkRows({ links = [] }: ShownRequest): (readonly [string, string])[] {
  const rows = links
    .slice(0, LINKS_LISTED)
    .map(({ from, place, to }) => `${to} from ${place} of ${from ?? 'an exchange that is not here'}`);
  if (links.length > rows.length) rows.push(`and ${links.length - rows.length} more (--json shows them)`);
  return rows.map((row, at) => [at === 0 ? 'links' : '', row]);
}

function callText({ status, requestMessages, responseMessages }: NonNullable<ShownRequest['grpc']>): string {
  const messages = (which: string, count: number | null) =>
    count === null ? [] : [`${which} ${countOf(count, 'message')}`];
  const counted = [...messages('request', requestMessages), ...messages('response', responseMessages)];
  return [status ?? 'no status', ...counted].join(', ');
}

/** Messages of a call that are listed as text. `--json` has more. */
const MESSAGES_LISTED = 20;

/** What of a message is shown as text. `--json` has all. */
const MESSAGE_CHARS = 400;

function cut(text: string): string {
  return text.length <= MESSAGE_CHARS ? text : `${text.slice(0, MESSAGE_CHARS)}…`;
}

function listedMessages({ messages }: ShownMessage): string[] {
  if (messages === undefined) return [];
  const { list, end } = messages;
  const more = list.length - MESSAGES_LISTED;
  const rows = list
    .slice(0, MESSAGES_LISTED)
    .map(({ offsetMs, bytes, compressed, json }, at) => [
      `message ${at + 1}`,
      msText(offsetMs),
      `${bytes} bytes${compressed ? ', compressed' : ''}`,
      json === null ? '' : cut(JSON.stringify(json)),
    ]);
  return [
    ...tableLines(columnsOf(['', '', '', ''], []), rows).slice(1),
    ...(more > 0 ? [`… ${more} more (--json shows them)`] : []),
    ...(end === 'broken' ? ['then bytes that are no message'] : []),
    ...(end === 'inside' ? ['then a message that was cut'] : []),
  ];
}

/** Control characters in each line are escaped, because the message is captured text. */
function messageLines(title: string, message: ShownMessage | null, isFull: boolean): string[] {
  if (message === null) return ['', `${title}: not stored`];
  const { head, body, encoding, bytes, shown, trailers } = message;
  const more = isFull ? '' : '; more with --full';
  const kept =
    body === null
      ? 'no body was kept'
      : bytes > shown
        ? `${shown} of ${bytes} bytes${more}`
        : `${bytes} bytes`;
  return [
    '',
    title,
    ...head.trimEnd().split(/\r?\n/),
    '',
    ...(message.messages !== undefined || encoding === 'base64' || !body ? [] : body.split(/\r?\n/)),
    ...listedMessages(message),
    `(${kept}${encoding === 'base64' ? ', no text: --json has them as base64' : ''})`,
    ...(trailers === undefined ? [] : trailers.trimEnd().split(/\r?\n/)),
  ];
}
