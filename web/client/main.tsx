import { render } from 'hono/jsx/dom'
import { App } from './app.tsx'
import { enter, resume } from './session.ts'

const page = document.getElementById('page')
if (page) render(<App />, page)
addEventListener('hashchange', enter)
resume()
