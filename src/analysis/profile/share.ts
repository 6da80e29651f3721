import type { PartyFigures, ProfileDocument } from '../../documents/profile.ts';
import { PRIVACY_STATEMENT } from './build-profile.ts';
import { STANDARD_METHODS } from './statistics.ts';

const SHARED_STATEMENT = `${PRIVACY_STATEMENT} Names that could identify clients were left out: hashes of clients and sessions, hosts, recorders, directories, the values of filters, and parts of routes and models that are not made of public words and few digits.`;

/**
 * A profile for readers who may not know the clients. Numbers stay; names that could identify clients are removed.
 */
export function shareable(document: ProfileDocument): ProfileDocument {
  const segments = new Pseudonyms('segment');
  const models = new Pseudonyms('model');
  const methods = new Pseudonyms('method');
  return {
    ...document,
    privacy: { ...document.privacy, shared: true, statement: SHARED_STATEMENT },
    capture: null,
    filters: document.filters.map((filter) => filter.split(' ')[0] ?? ''),
    mix: {
      ...document.mix,
      routes: document.mix.routes.map((group) => ({
        ...group,
        route: publicRoute(group.route, segments, methods),
      })),
      models: document.mix.models.map((group) => ({
        ...group,
        model: group.model === null || isPublicModel(group.model) ? group.model : models.of(group.model),
      })),
      methods: document.mix.methods.map((each) => ({
        ...each,
        method: each.method === null ? null : publicMethod(each.method, methods),
      })),
    },
    sessions: withoutIds(document.sessions),
    clients: withoutIds(document.clients),
  };
}

/** Gives each name a number, in the order of the calls: the most frequent name first. */
class Pseudonyms {
  readonly #kind: string;
  readonly #known = new Map<string, string>();

  constructor(kind: string) {
    this.#kind = kind;
  }

  of(name: string): string {
    let pseudonym = this.#known.get(name);
    if (pseudonym === undefined) {
      pseudonym = `{${this.#kind} ${this.#known.size + 1}}`;
      this.#known.set(name, pseudonym);
    }
    return pseudonym;
  }
}

const PLACEHOLDER = /^\{[a-z]+\}(?::[a-z]+)?$/;

function publicMethod(method: string, methods: Pseudonyms): string {
  return STANDARD_METHODS.includes(method) ? method : methods.of(method);
}

function publicRoute(route: string | null, segments: Pseudonyms, methods: Pseudonyms): string | null {
  if (route === null) return null;
  const space = route.indexOf(' ');
  const path = route.slice(space + 1).split('/');
  const named = path.map((segment) =>
    segment === '' || segment === '…' || PLACEHOLDER.test(segment) || isPublicSegment(segment)
      ? segment
      : segments.of(segment),
  );
  return `${publicMethod(route.slice(0, Math.max(0, space)), methods)} ${named.join('/')}`;
}

function withoutIds(parties: PartyFigures): PartyFigures {
  return { ...parties, top: parties.top.map((party) => ({ ...party, id: null })) };
}

/**
 * Words in paths of model servers and in names of public models. A shared profile keeps a name that consists of these
 * words and few digits. Any other name may identify a customer, a tenant or a person, so a number replaces it.
 */
const WORDS = [
  // Paths.
  'api v models model infer inference generate stream predict predictions prediction explain explanations classify',
  'classification regress regression invocations invoke ping health healthz live livez ready readyz metrics metadata',
  'status stats config repository index load unload versions version labels label openai deployments chat completions',
  'completion embeddings embedding embed responses response rerank score audio speech transcriptions translations',
  'images image generations edits variations moderations files batches threads assistants messages message count',
  'tokens tokenize detokenize input output text fine tuning jobs events tags show pull push delete copy create ps',
  'blobs wfpredict workflow server models management docs redoc json favicon ico robots txt http https get post id',
  'authority endpoint endpoints serve serving run runs sync async batch queue detect detection segment segmentation',
  'search query similarity features feature vision llm nlp asr tts ocr',
  // Families of public models, and names of their variants.
  'gpt turbo mini nano o omni preview llama codellama qwen qwq mistral mixtral ministral',
  'codestral gemini opus sonnet haiku deepseek coder falcon opt mpt dbrx command cohere',
  'granite olmo nemotron smollm tinyllama vicuna alpaca zephyr starcoder stablelm glm chatglm internlm baichuan',
  'distilbert xlm deberta minilm mpnet bge gte e colbert splade t ul flan pegasus',
  'nllb clip blip siglip vit deit swin convnext resnet resnext densenet vgg inception mobilenet efficientnet',
  'alexnet squeezenet yolo rcnn ssd detr unet dinov mask faster stable diffusion sd sdxl flux dit whisper',
  'wav vec tacotron xgboost lightgbm catboost sklearn pmml onnx tensorrt torchscript pytorch tensorflow',
  'mnist cifar imagenet squad demo example test simple identity add sub ensemble',
  'base small medium large xl xxl tiny big huge instruct it chat reasoning thinking distill vl moe pro lite flash fast',
  'latest quant quantized fp int bf awq gptq gguf q k m s b x en multilingual uncased cased ft hf',
].join(' ');

/** Models with names of people. In a path, the same word is probably a person's name. */
const NAMED_LIKE_PEOPLE =
  'ada albert babbage bart bert bloom claude curie davinci dino electra gemma hubert iris kimi marian phi roberta sam yi';

const PATH_WORDS: ReadonlySet<string> = new Set(WORDS.split(/\s+/));
const MODEL_WORDS: ReadonlySet<string> = new Set([...PATH_WORDS, ...NAMED_LIKE_PEOPLE.split(' ')]);

/** `v2`, `v1.0`. */
const VERSION = /^v\d{1,3}(?:\.\d{1,3}){0,2}$/;
/** `o3`, `t5`. */
const SHORT_MODEL = /^[a-z]\d$/;
/** The day a model was released, at the end of its name. */
const RELEASE_DAY = /-20(?:1[89]|[2-9]\d)-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$/;
const ADDRESS = /\d+\.\d+\.\d+\.\d+/;

/** Most digits of a kept name. More digits, even separated, may be a number of a person, card, telephone or machine. */
const PATH_DIGITS = 3;
const MODEL_DIGITS = 6;

/** Whether a segment of a path is made of public words and very few digits: `completions`, `v2`, `resnet50`. */
function isPublicSegment(segment: string): boolean {
  const name = segment.toLowerCase();
  return isMadeOf(PATH_WORDS, name) && digitsOf(name) <= PATH_DIGITS && (hasWord(name) || VERSION.test(name));
}

/** Whether the name of a model is made of public words and few digits: `llama-3.1-8b-instruct`, `gpt-4o-2024-08-06`. */
function isPublicModel(model: string): boolean {
  const name = model.toLowerCase();
  const undated = name.replace(RELEASE_DAY, '');
  return (
    isMadeOf(MODEL_WORDS, name) &&
    digitsOf(undated) <= MODEL_DIGITS &&
    !ADDRESS.test(undated) &&
    (hasWord(undated) || VERSION.test(undated) || SHORT_MODEL.test(undated))
  );
}

function isMadeOf(words: ReadonlySet<string>, name: string): boolean {
  if (!/^[a-z0-9._:-]{1,80}$/.test(name)) return false;
  const parts = name.match(/[a-z]+|\d+/g) ?? [];
  return parts.every((part) => (/^\d/.test(part) ? part.length <= 4 : words.has(part)));
}

function digitsOf(name: string): number {
  return name.replace(/\D/g, '').length;
}

/** Whether a name contains a word. A single letter does not count: with digits, it may be any number. */
function hasWord(name: string): boolean {
  return /[a-z]{2}/.test(name);
}
