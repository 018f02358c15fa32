local json = require("json")

local Stock = {}

function Stock.new(left)
  return setmetatable({ left = left }, { __index = Stock })
end

function Stock:scarce()
  local names = {}
  for name, n in pairs(self.left) do
    -- Three is few.
    if n < 3 then
      ║table.insert(names, name)
    end
  end
  return names
end

local show = function(stock)
  return "scarce: " .. table.concat(stock:scarce(), ", ")
end
