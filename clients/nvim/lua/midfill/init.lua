-- Midfill: completions from a model on your own machine, as ghost text.
--
--     require('midfill').setup({})
--
-- `:help midfill` tells the rest.
local client = require('midfill.client')
local ghost = require('midfill.ghost')
local preview = require('midfill.preview')

local M = {}

---@type table
M.options = require('midfill.options').merged()

-- The server's, when both come from one release.
M.version = '0.1.0'

--- Attach to what is open and to what will be opened.
---@param given table?
function M.setup(given)
  M.options = require('midfill.options').merged(given)
  local options = M.options
  vim.api.nvim_set_hl(0, 'MidfillGhost', { link = 'Comment', default = true })
  local group = vim.api.nvim_create_augroup('midfill', { clear = true })
  local function on(events, callback)
    vim.api.nvim_create_autocmd(events, { group = group, callback = callback })
  end
  on({ 'FileType', 'BufNewFile', 'BufReadPost' }, function(event)
    client.attach(event.buf, options)
  end)
  if options.renderer == 'builtin' then
    vim.lsp.inline_completion.enable(options.auto)
    on('FileType', function(event)
      if ghost.is_muted(event.buf) then
        vim.lsp.inline_completion.enable(false, { bufnr = event.buf })
      end
    end)
  else
    on({ 'TextChangedI', 'TextChangedP' }, function()
      ghost.follow(M.options.auto)
    end)
    on('CursorMovedI', function()
      ghost.follow(false)
    end)
    on({ 'InsertLeave', 'BufLeave' }, ghost.clear)
  end
  -- Keys typed before the server was there asked nothing: ask when it is.
  on('LspAttach', function(event)
    local server = vim.lsp.get_client_by_id(event.data.client_id)
    if server and server.name == 'midfill' and vim.api.nvim_get_mode().mode == 'i' then
      ghost.follow(M.options.auto)
    end
  end)
  -- What code actions ask a client to do.
  vim.lsp.commands['midfill.showExplanation'] = function(command)
    require('midfill.explain').explain(command.arguments[1].range)
  end
  vim.lsp.commands['midfill.askInstruction'] = function(command)
    preview.words(command.arguments[1], '')
  end
  vim.lsp.commands['midfill.refactor'] = function(command)
    preview.ask(command.arguments[1])
  end
  M._map_keys(options.keys)
  for _, bufnr in ipairs(vim.api.nvim_list_bufs()) do
    if vim.api.nvim_buf_is_loaded(bufnr) and vim.bo[bufnr].filetype ~= '' then
      client.attach(bufnr, options)
    end
  end
end

M.accept = function()
  return ghost.accept('all')
end
M.accept_word = function()
  return ghost.accept('word')
end
M.accept_line = function()
  return ghost.accept('line')
end
M.next = function()
  ghost.cycle(1)
end
M.previous = function()
  ghost.cycle(-1)
end
M.dismiss = ghost.clear
M.trigger = function()
  ghost.ask(true)
end
M.is_visible = ghost.is_visible

--- For a status line: `midfill` and how it is, in few characters; nothing where no server is attached.
---@return string
function M.statusline()
  local state = client.status().state
  if state == 'not attached' then
    return ''
  end
  local signs = { ready = '●', working = '◍', loading = '○', starting = '○', off = '–', snoozed = '–' }
  local is_on = M.options.auto and not ghost.is_muted()
  return 'midfill ' .. (is_on and (signs[state] or '!') or '–')
end

--- Each key does what it did before where there is no ghost text to do it to.
function M._map_keys(keys)
  for action, key in pairs(keys) do
    if key then
      local before = vim.fn.maparg(key, 'i', false, true)
      vim.keymap.set('i', key, function()
        if M._does(action) then
          return ''
        end
        if before.callback then
          return before.callback() or ''
        end
        return before.rhs and before.expr == 0 and before.rhs or key
      end, { expr = true, replace_keycodes = true, desc = 'Midfill: ' .. action:gsub('_', ' ') })
    end
  end
end

--- Do an action soon; whether there is something to do it to.
function M._does(action)
  if M.options.renderer ~= 'builtin' then
    local does = action == 'trigger' or ghost.is_visible()
    if does then
      vim.schedule(M[action])
    end
    return does
  end
  if action == 'accept' then
    return vim.lsp.inline_completion.get()
  end
  local step = ({ next = 1, previous = -1 })[action]
  if step then
    vim.schedule(function()
      vim.lsp.inline_completion.select({ count = step })
    end)
  end
  return step ~= nil
end

return M
