import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Command } from 'commander';
import type { ProfileDocument } from '../analysis/profile/profile-document.ts';
import { AppError, type ErrorCode } from '../core/errors.ts';
import { type EncryptionFlag, encryptionKeyOf, encryptionKeyOption } from './encryption-flag.ts';
import { entryUrl } from './entry-url.ts';
import { PROFILE_DEFAULTS, type RawProfileOptions, resolveProfileOptions } from './profile-options.ts';
import { writeProfile } from './profile-output.ts';
import type { ProfileRequest } from './profiling.ts';
import { addSelectionFlags, addStretchFlags } from './replay-window-flags.ts';
import { terminal } from './terminal.ts';

/** What the profiler says when it is done. */
export type FromProfiler =
  | { readonly kind: 'document'; readonly document: ProfileDocument }
  | {
      readonly kind: 'failed';
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint: string | null;
    };

/** As for the planner: only a thread can be held to limits while millions of rows pass through it. */
const PROFILER_LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 192 } as const;

/** `reprise profile DIR`: the traffic of a capture in numbers. */
export function profileCommand(): Command {
  const command = new Command('profile')
    .description('Describe the traffic of a capture in numbers: no payload and no secret is in them.')
    .argument('<capture>', 'the directory of a capture')
    .option('--json', 'print one JSON document')
    .option('--html [file]', 'write one self-contained page; without a file, print it')
    .option('--csv [file]', 'write the numbers as a table; without a file, print it')
    .option('--share', 'leave out names that could identify clients')
    .option(
      '--payload-sample <n>',
      'look into so many payloads, evenly spread; 0 for none, or all',
      PROFILE_DEFAULTS.payloadSample,
    )
    .addOption(encryptionKeyOption('file with the key of an encrypted capture, to look into its payloads'));
  addStretchFlags(command, 'profile');
  return addSelectionFlags(command, 'profile').action(
    async (directory: string, flags: RawProfileOptions & EncryptionFlag) => {
      await profile(directory, flags);
    },
  );
}

async function profile(directory: string, flags: RawProfileOptions & EncryptionFlag): Promise<void> {
  const options = resolveProfileOptions(flags);
  // A key that is no key is refused here as everywhere.
  encryptionKeyOf(flags);
  const encryptionKeyFile = flags.encryptionKeyFile ?? null;
  const document = await profileInThread({ directory, encryptionKeyFile, options });
  writeProfile(document, options.outputs, terminal);
}

/** @throws AppError what the profiling throws */
async function profileInThread(request: ProfileRequest): Promise<ProfileDocument> {
  const profiler = new Worker(entryUrl('profiler'), { workerData: request, resourceLimits: PROFILER_LIMITS });
  let answer: FromProfiler | null = null;
  profiler.on('message', (message: FromProfiler) => {
    answer = message;
  });
  // An error that is none of ours ends the thread and comes out of here as it is.
  await once(profiler, 'exit');
  return documentIn(answer);
}

function documentIn(answer: FromProfiler | null): ProfileDocument {
  if (answer === null) throw new AppError('INTERNAL', 'the profiler ended without an answer');
  if (answer.kind === 'document') return answer.document;
  throw new AppError(answer.code, answer.message, answer.hint === null ? {} : { hint: answer.hint });
}
