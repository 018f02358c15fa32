-- What `require('midfill').setup` takes, with the defaults.
local M = {}

M.defaults = {
  -- How the server is started.
  cmd = { 'midfill', 'serve' },
  -- The server's settings, as docs/settings.md lists them: { completion = { maxTokensLine = 32 } }.
  settings = {},
  -- File types to attach to; nil: all.
  filetypes = nil,
  -- Whether ghost text comes while you type. `:Midfill trigger` works in any case.
  auto = true,
  -- Who draws: 'midfill', or 'builtin' for Neovim 0.12's own vim.lsp.inline_completion, which waits 200 ms.
  renderer = 'midfill',
  -- Keys in insert mode; false: none. Where there is no ghost text a key does what it did before.
  keys = {
    accept = '<Tab>',
    accept_word = '<M-Right>',
    accept_line = '<M-Down>',
    next = '<M-]>',
    previous = '<M-[>',
    dismiss = '<C-]>',
    trigger = '<M-\\>',
  },
}

--- The defaults, with what `given` says otherwise.
---@param given table?
---@return table
function M.merged(given)
  local options = vim.tbl_deep_extend('force', M.defaults, given or {})
  if options.keys == false then
    options.keys = {}
  end
  return options
end

return M
