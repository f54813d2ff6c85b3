/**
 * Every word of the page, in one place: a translation is another object of this type. What the API refuses comes with its
 * own sentences.
 */
import { formatBitsPerSecond, formatBytes } from '../../src/base/units.ts'

const LANGUAGE = 'en'

const count = (n: number, one: string, many: string): string => `${n.toLocaleString(LANGUAGE)} ${n === 1 ? one : many}`
const percent = (part: number, whole: number): string => `${whole > 0 ? Math.floor((part / whole) * 100) : 0} %`

export const text = {
  language: LANGUAGE,
  product: 'wimcast',
  needsScript: 'This page needs JavaScript. The command line does the same: wimcast --help.',
  skip: 'Skip to the content',
  close: 'Close',
  cancel: 'Cancel',
  dismiss: 'Dismiss',
  bytes: formatBytes,
  rate: formatBitsPerSecond,
  percent,

  signIn: {
    title: 'Sign in',
    lead: 'This appliance keeps Windows images and hands them out. To see them, use a token.',
    token: 'Token',
    button: 'Sign in',
    busy: 'Signing in …',
    missing: 'Enter a token. It begins with "wimcast_".',
    howTitle: 'No token yet?',
    how: 'On the appliance, as root or as a member of its group:',
    command: 'wimcast token new --name me --role operator',
    kept: 'The token stays in this tab and is forgotten when the tab closes. A viewer sees everything; an operator can also change it.',
    refusedHint: 'Check that all of it was copied, and that it has not been revoked.',
    over: 'The token is no longer accepted. Sign in again.',
  },
  header: {
    sections: 'Sections',
    signOut: 'Sign out',
    signedInAs: (name: string, role: string) => `${name}, ${role}`,
    version: (version: string) => `version ${version}`,
  },
  roles: { viewer: 'viewer', operator: 'operator', admin: 'administrator' },
  connection: {
    connecting: 'Connecting …',
    live: 'Live',
    offline: 'Offline',
    offlineWhy: 'The appliance does not answer. What you see may be out of date; this page tries again by itself.',
    retry: 'Try now',
    unreachable: 'the appliance does not answer',
    unreachableHint: 'Check that it runs and that this machine reaches it.',
    strange: (status: number) => `the appliance answered ${status}`,
    strangeHint: 'Reload the page; see the log of the appliance.',
  },
  notices: {
    title: 'Messages',
    copied: (name: string) => `Copied to “${name}”.`,
    removed: (name: string) => `Removed “${name}”.`,
    madePublic: (name: string) => `“${name}” is public: plain HTTP and TFTP give it out without a token.`,
    madePrivate: (name: string) => `“${name}” is no longer public.`,
    transmitting: (name: string, id: number) => `Transmission ${id} of “${name}” is open.`,
    cancelling: (title: string) => `Cancelling “${title}”.`,
    stopping: (id: number) => `Transmission ${id} is stopping.`,
  },
  library: {
    title: 'Library',
    emptyTitle: 'The library is empty',
    empty: 'Import a .wim, .esd or .swm file on the appliance:',
    emptyCommand: 'wimcast image import FILE --group NAME',
    group: (images: number) => `Image group · ${count(images, 'install image', 'install images')}`,
    total: (images: number, stored: number, saved: number) =>
      `${count(images, 'install image', 'install images')} in ${formatBytes(stored)}; sharing saves ${formatBytes(saved)}.`,
    noImages: 'No install images in this group.',
    stored: 'Stored on disk',
    apparent: 'As files of their own',
    saved: 'Saved by sharing',
    savedOf: (saved: number, apparent: number) => `${formatBytes(saved)} (${percent(saved, apparent)})`,
    meter: (group: string, stored: number, apparent: number) =>
      `${group}: ${formatBytes(stored)} stored of ${formatBytes(apparent)} shown`,
    columns: {
      image: 'Install image',
      architecture: 'Architecture',
      version: 'Version',
      edition: 'Edition',
      languages: 'Languages',
      size: 'Size',
      public: 'Public',
      actions: 'Actions',
    },
    tableOf: (group: string) => `Install images of ${group}`,
    unknown: '–',
    yes: 'Yes',
    no: 'No',
    publicSwitch: (name: string) => `Public: ${name}`,
    publicMeaning: 'Public images are given out over plain HTTP and TFTP, without a token.',
    transmit: 'Transmit',
    copy: 'Copy',
    remove: 'Remove',
    actionOn: (action: string, name: string) => `${action} ${name}`,
  },
  copyDialog: {
    title: 'Copy install image',
    lead: (name: string) =>
      `A second entry for “${name}” in the same group. It shares all contents and takes no space.`,
    newName: 'Image name',
    newFileName: 'File name',
    newDescription: 'Description',
    nameProposal: (name: string) => `${name} copy`,
    button: 'Copy',
  },
  removeDialog: {
    title: 'Remove install image',
    lead: (name: string, group: string) => `“${name}” will be removed from image group “${group}”.`,
    file: 'File name',
    size: 'Size as a file',
    others: (n: number) =>
      n === 0
        ? 'It is the only image of its group: the space of all its contents is freed.'
        : `Contents that it shares with the ${count(n, 'other image', 'other images')} of the group stay; the space of the rest is freed.`,
    isPublic: 'It is public: machines that fetch it by HTTP or TFTP will not find it any more.',
    final: 'This cannot be undone.',
    button: 'Remove',
  },
  transmitDialog: {
    title: 'Transmit by multicast',
    lead: (name: string) =>
      `Opens an AutoCast transmission of “${name}”. Sending begins when the first client joins; others may join at any time.`,
    interface: 'Network interface',
    interfaceHint: 'Empty: the interface of the default route.',
    rate: 'Ceiling in Mbit/s',
    rateHint: 'Empty: as fast as the clients bear.',
    button: 'Transmit',
  },
  stopDialog: {
    title: (id: number) => `Stop transmission ${id}`,
    lead: 'No new client can join. Clients that are receiving now finish first, unless you cut them off.',
    force: 'Cut off the clients that are still receiving',
    button: 'Stop',
  },
  jobs: {
    title: 'Jobs',
    empty: 'No jobs yet. Imports appear here while they run.',
    running: (n: number) => `${n} running`,
    older: (n: number) => `Show ${count(n, 'older job', 'older jobs')}`,
    states: { queued: 'Queued', running: 'Running', done: 'Done', failed: 'Failed', cancelled: 'Cancelled' },
    by: (who: string) => `by ${who.replace(/^token:/, '')}`,
    cancel: 'Cancel',
    cancelJob: (title: string) => `Cancel job: ${title}`,
    progress: (title: string) => `Progress of ${title}`,
    doneOf: (done: number, total: number) => `${formatBytes(done)} of ${formatBytes(total)} (${percent(done, total)})`,
    took: (ms: number) =>
      ms < 1000 ? 'under 1 s' : ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`,
    imported: (names: readonly string[], group: string) =>
      `Imported ${names.map((name) => `“${name}”`).join(', ')} into ${group}.`,
    added: (fresh: number, all: number, bytes: number) =>
      `${fresh.toLocaleString(LANGUAGE)} of ${count(all, 'content', 'contents')} new to the group: ${formatBytes(bytes)} on disk.`,
  },
  casts: {
    title: 'Transmissions',
    empty: 'No transmissions. An operator opens one with “Transmit” at an install image.',
    open: (n: number) => `${n} open`,
    older: (n: number) => `Show ${count(n, 'ended transmission', 'ended transmissions')}`,
    name: (id: number, image: string) => `${id} · ${image}`,
    states: {
      preparing: 'Preparing',
      waiting: 'Waiting for clients',
      running: 'Sending',
      idle: 'Idle',
      stopping: 'Stopping',
      stopped: 'Stopped',
      failed: 'Failed',
      ended: 'Ended',
    },
    address: 'Address',
    addressOn: (group: string, port: number, interfaceName: string | undefined) =>
      `${group}:${port}${interfaceName === undefined ? '' : ` on ${interfaceName}`}`,
    rate: 'Rate',
    rateNow: (sent: number, allowed: number) =>
      `${formatBitsPerSecond(sent)}${allowed > 0 ? `, pace allows ${formatBitsPerSecond(allowed)}` : ''}`,
    ceiling: 'Ceiling',
    pass: 'Pass',
    sent: 'Sent',
    sentOf: (sent: number, size: number) => `${formatBytes(sent)}; the image is ${formatBytes(size)}`,
    heard: 'Heard by',
    heardOf: (clients: number, of: number) => `${clients} of ${of}`,
    hashing: 'Hashing the image',
    noClients: 'No client has joined. On a client:',
    joinCommand: (origin: string, id: number, fingerprint: string) =>
      `wimcast receive --server ${origin} --cast ${id} --fingerprint ${fingerprint} --token-file FILE --out FILE`,
    clientsOf: (name: string) => `Clients of ${name}`,
    columns: { client: 'Client', state: 'State', progress: 'Received', loss: 'Loss', drops: 'Drops' },
    dropsMeaning: 'Packets that the client machine itself dropped because its socket was full.',
    clientStates: { probing: 'Probing', receiving: 'Receiving', done: 'Done', left: 'Left', lost: 'Lost' },
    loss: (ppm: number) => `${(ppm / 10_000).toFixed(2)} %`,
    progressOf: (name: string) => `Received by ${name}`,
    stop: 'Stop',
    stopCast: (name: string) => `Stop transmission ${name}`,
    opened: (when: string, who: string) => `opened ${when} by ${who.replace(/^token:/, '')}`,
    ended: (when: string) => `ended ${when}`,
  },
  refusalCode: (code: string) => `Code: ${code}`,
  when: (ms: number): string => {
    const at = new Date(ms)
    const today = at.toDateString() === new Date().toDateString()
    return at.toLocaleString(undefined, today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' })
  },
} as const
