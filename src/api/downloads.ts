/** `GET /images/<group>/<file name>`: the view itself. With a token by HTTPS; without one, what is public. */
import { Hono } from 'hono'
import type { Shelf } from '../base/content.ts'
import { refuse } from '../base/refusal.ts'
import { sendContent } from '../http/send.ts'
import { type Env, unwrap } from './door.ts'

export function downloadRoutes({ shelf }: { readonly shelf: Shelf }) {
  return new Hono<Env>().on(['GET', 'HEAD'], '/images/:group/:file', async (c) => {
    const content = await shelf.find(`images/${c.req.param('group')}/${c.req.param('file')}`, c.get('who'))
    // The same answer for what is not there and for what is not public: names are nobody's business.
    if (!content)
      return unwrap(
        refuse(
          'not-found',
          'there is no such file for you',
          'Over plain HTTP only public images are served; with HTTPS send a token.',
        ),
      )
    return sendContent(c.req.raw, content)
  })
}
